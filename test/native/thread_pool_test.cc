// The pool under contention: every job runs on all its threads at once, in order, and nothing is
// lost.
#include "cpu/thread_pool.h"

#include <cmath>
#include <cstdio>
#include <vector>

using resnet::cpu::Barrier;
using resnet::cpu::ThreadPool;

namespace {

int passed = 0, failed = 0;

void check(bool condition, const char* what) {
  ++(condition ? passed : failed);
  if (!condition) std::printf("FAILED %s\n", what);
}

// Threads meet at a barrier many times: they can only all get through if the job got all its
// threads.
void barriersMeet(ThreadPool& pool, int threads) {
  Barrier barrier(threads);
  std::vector<long> counts(threads * 16, 0);
  pool.runAndWait(threads, [&](int t) {
    for (int i = 0; i < 2000; ++i) {
      counts[t * 16] += 1;
      barrier.wait();
      for (int other = 0; other < threads; ++other) {
        if (counts[other * 16] != i + 1) counts[t * 16] = -1000000;
      }
      barrier.wait();
    }
  });
  bool all = true;
  for (int t = 0; t < threads; ++t) all = all && counts[t * 16] == 2000;
  check(all, "every thread sees the others at every barrier");
}

// Several submitters with jobs of different widths; each job checks that its threads run together.
void manySubmitters(ThreadPool& pool) {
  std::atomic<int> ran{0};
  std::vector<std::thread> submitters;
  for (int s = 0; s < 4; ++s) {
    submitters.emplace_back([&, s] {
      for (int i = 0; i < 200; ++i) {
        const int width = 1 + (s + i) % 3;
        Barrier barrier(width);
        pool.runAndWait(width, [&](int) {
          barrier.wait();
          ran.fetch_add(1);
        });
      }
    });
  }
  for (auto& thread : submitters) thread.join();
  int expected = 0;
  for (int s = 0; s < 4; ++s) {
    for (int i = 0; i < 200; ++i) expected += 1 + (s + i) % 3;
  }
  check(ran.load() == expected, "every thread of every job ran once");
}

void denormalsAreFlushed(ThreadPool& pool) {
  volatile float tiny = 1e-39f;
  float product = 1;
  pool.runAndWait(1, [&](int) { product = tiny * 0.5f; });
#if defined(RESNET_X64) || defined(__aarch64__)
  check(product == 0, "denormals are zero in the pool's threads");
#else
  std::printf("skipped: denormal mode on this architecture\n");
#endif
}

}  // namespace

int main() {
  {
    auto pool = ThreadPool::acquire();
    check(pool == ThreadPool::acquire(), "one pool per process");
    check(pool->reserve(3).ok(), "three threads");
    for (int threads = 1; threads <= 3; ++threads) barriersMeet(*pool, threads);
    manySubmitters(*pool);
    denormalsAreFlushed(*pool);
    check(ThreadPool::liveThreads() == 3, "threads are kept");
  }
  check(ThreadPool::liveThreads() == 0, "the last user joins the threads");
  check(ThreadPool::users() == 0, "no user left");
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
