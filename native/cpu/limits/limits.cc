#include "cpu/limits/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <thread>

#include "cpu/isa.h"

namespace resnet::cpu {
namespace {

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Seconds that all threads together take for one share of `work` each, the calling one among them.
double together(int threads, const std::function<void(int)>& work) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) {
    others.emplace_back([&, t] {
      ready.fetch_add(1);
      while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
      work(t);
    });
  }
  while (ready.load() < threads - 1) std::this_thread::yield();
  const auto begin = Clock::now();
  go.store(true, std::memory_order_release);
  work(0);
  for (std::thread& other : others) other.join();
  return secondsSince(begin);
}

constexpr int kRounds = 5;
constexpr double kSecondsOfARound = 0.06;
constexpr size_t kCopyBytes = size_t{64} << 20;  // of each thread; past any private cache

double bestRate(int threads, const LimitLoop& loop, const Control& control) {
  int64_t turns = 1 << 14;
  for (;;) {
    const auto begin = Clock::now();
    loop.run(turns);
    if (secondsSince(begin) > kSecondsOfARound) break;
    turns *= 2;
  }
  double best = 0;
  for (int round = 0; round < kRounds && !control.stop(); ++round) {
    const double seconds = together(threads, [&](int) { loop.run(turns); });
    best = std::max(best, double(threads) * double(turns) * loop.operations / seconds);
  }
  return best / 1e9;
}

// Bytes read plus bytes written, as the roofline counts them.
Result<double> copyRate(int threads, const Control& control) {
  const size_t bytes = kCopyBytes * size_t(threads);
  std::unique_ptr<char[]> from(new (std::nothrow) char[bytes]);
  std::unique_ptr<char[]> to(new (std::nothrow) char[bytes]);
  if (!from || !to) {
    return Status::error(Code::kOutOfMemory, "measuring the copy rate needs " +
                                                 std::to_string(2 * bytes) + " bytes of memory");
  }
  std::memset(from.get(), 1, bytes);
  std::memset(to.get(), 2, bytes);
  double best = 0;
  for (int round = 0; round < kRounds && !control.stop(); ++round) {
    const double seconds = together(threads, [&](int t) {
      std::memcpy(to.get() + size_t(t) * kCopyBytes, from.get() + size_t(t) * kCopyBytes,
                  kCopyBytes);
    });
    best = std::max(best, 2 * double(bytes) / seconds);
  }
  return best / 1e9;
}

}  // namespace

Result<std::vector<Limit>> measureLimits(int threads, const Control& control) {
  std::vector<LimitLoop> loops;
  appendPortableLoops(loops);
#ifdef RESNET_X64
  for (const IsaSupport& support : hostIsas()) {
    if (!support.supported) continue;
    if (support.isa == Isa::kAvx2) appendAvx2Loops(loops);
    if (support.isa == Isa::kAvx512) appendAvx512Loops(loops);
  }
  appendAmxLoops(loops);
#endif
  std::vector<int> counts = {1};
  if (threads > 1) counts.push_back(threads);
  std::vector<Limit> limits;
  for (const int count : counts) {
    for (const LimitLoop& loop : loops) {
      if (control.stop()) return Status::aborted();
      limits.push_back({loop.name, bestRate(count, loop, control), loop.unit, count});
    }
    const Result<double> copied = copyRate(count, control);
    if (!copied.ok()) return copied.status();
    limits.push_back({"memory copy, read and written", copied.value(), "GB/s", count});
  }
  if (control.stop()) return Status::aborted();
  return limits;
}

}  // namespace resnet::cpu
