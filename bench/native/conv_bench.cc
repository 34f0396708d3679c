// Time of every distinct convolution of ResNet-18 and ResNet-50, by candidate, alone: best of
// several runs with warm weights. A network behaves differently (weights come from memory): decide
// there, look for slow kernels here.
//
//   conv_bench [--batch N] [--threads N] [--isa NAME] [--peak GMACS] [--rounds N] [--cold MB]
//              [filter...]
// --peak: multiply-adds a second of one core in units of 1e9, for the share of the bound. A filter
// is a substring of the line that is printed. Winograd's share is of the direct algorithm's work,
// so it may exceed 100%.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "conv_harness.h"
#include "cpu/conv/candidates.h"

using namespace resnet;
using namespace resnet::cpu;
using namespace resnet::cpu::harness;

namespace {

struct Layer {
  const char* name;
  int c, size, k, kernel, stride;
  int in18, in50;  // how often it occurs
  bool residual;
};
constexpr Layer kLayers[] = {
    {"stem", 3, 224, 64, 7, 2, 1, 1, false},
    {"s1 3x3", 64, 56, 64, 3, 1, 4, 3, false},
    {"s1 reduce first", 64, 56, 64, 1, 1, 0, 1, false},
    {"s1 reduce", 256, 56, 64, 1, 1, 0, 2, false},
    {"s1 expand", 64, 56, 256, 1, 1, 0, 4, true},
    {"s2 3x3 stride 2 (18)", 64, 56, 128, 3, 2, 1, 0, false},
    {"s2 downsample (18)", 64, 56, 128, 1, 2, 1, 0, false},
    {"s2 reduce first", 256, 56, 128, 1, 1, 0, 1, false},
    {"s2 3x3 stride 2", 128, 56, 128, 3, 2, 0, 1, false},
    {"s2 downsample", 256, 56, 512, 1, 2, 0, 1, false},
    {"s2 reduce", 512, 28, 128, 1, 1, 0, 3, false},
    {"s2 3x3", 128, 28, 128, 3, 1, 3, 3, false},
    {"s2 expand", 128, 28, 512, 1, 1, 0, 4, true},
    {"s3 3x3 stride 2 (18)", 128, 28, 256, 3, 2, 1, 0, false},
    {"s3 downsample (18)", 128, 28, 256, 1, 2, 1, 0, false},
    {"s3 reduce first", 512, 28, 256, 1, 1, 0, 1, false},
    {"s3 3x3 stride 2", 256, 28, 256, 3, 2, 0, 1, false},
    {"s3 downsample", 512, 28, 1024, 1, 2, 0, 1, false},
    {"s3 reduce", 1024, 14, 256, 1, 1, 0, 5, false},
    {"s3 3x3", 256, 14, 256, 3, 1, 3, 5, false},
    {"s3 expand", 256, 14, 1024, 1, 1, 0, 6, true},
    {"s4 3x3 stride 2 (18)", 256, 14, 512, 3, 2, 1, 0, false},
    {"s4 downsample (18)", 256, 14, 512, 1, 2, 1, 0, false},
    {"s4 reduce first", 1024, 14, 512, 1, 1, 0, 1, false},
    {"s4 3x3 stride 2", 512, 14, 512, 3, 2, 0, 1, false},
    {"s4 downsample", 1024, 14, 2048, 1, 2, 0, 1, false},
    {"s4 reduce", 2048, 7, 512, 1, 1, 0, 2, false},
    {"s4 3x3", 512, 7, 512, 3, 1, 3, 2, false},
    {"s4 expand", 512, 7, 2048, 1, 1, 0, 3, true},
};

size_t coldBytes = 0;  // written before each timed run, to push weights out of the caches

// Processor time, so that other processes on the machine count for little.
double threadSeconds() {
#if defined(CLOCK_THREAD_CPUTIME_ID)
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
#else
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
#endif
}

// Of the slowest thread.
double secondsOf(ConvRun& run, int threads) {
  Barrier barrier(threads);
  std::vector<double> seconds(threads);
  auto body = [&](int thread) {
    run.runThread(thread);
    barrier.wait();
    if (coldBytes > 0 && thread == 0) {
      static std::vector<char> cold(coldBytes);
      for (size_t i = 0; i < cold.size(); i += 64) cold[i]++;
    }
    barrier.wait();
    const double begin = threadSeconds();
    run.runThread(thread);
    seconds[thread] = threadSeconds() - begin;
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(body, t);
  body(0);
  for (std::thread& other : others) other.join();
  return *std::max_element(seconds.begin(), seconds.end());
}

}  // namespace

int main(int argc, char** argv) {
  int batch = 1, threads = 1, rounds = 20;
  double peak = 0;
  std::string isaOption;
  std::vector<std::string> filters;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--batch")
      batch = std::atoi(value);
    else if (word == "--threads")
      threads = std::atoi(value);
    else if (word == "--rounds")
      rounds = std::atoi(value);
    else if (word == "--peak")
      peak = std::atof(value);
    else if (word == "--cold")
      coldBytes = size_t(std::atoi(value)) << 20;
    else if (word == "--isa")
      isaOption = value;
    else {
      filters.push_back(word);
      continue;
    }
    ++i;
  }
  const Result<Isa> isa = chooseIsa(isaOption);
  if (!isa.ok()) {
    std::fprintf(stderr, "%s\n", isa.status().message.c_str());
    return 2;
  }
  std::printf("%s, %s, batch %d, %d thread(s)\n", cpuModelName().c_str(), isaName(isa.value()),
              batch, threads);
  double total18 = 0, total50 = 0;
  for (const Layer& layer : kLayers) {
    ConvCase test{.n = batch, .c = layer.c, .h = layer.size, .w = layer.size, .k = layer.k};
    test.kernel = {layer.kernel, layer.kernel};
    test.stride = {layer.stride, layer.stride};
    test.padding = {layer.kernel / 2, layer.kernel / 2};
    test.residual = test.alias = layer.residual;
    test.relu = true;
    test.threads = threads;
    test.outputHalo = layer.kernel == 1 && !layer.residual ? 1 : 0;
    const ConvProblem problem(test);
    const double macs =
        double(batch) * test.p() * test.q() * test.k * test.c * layer.kernel * layer.kernel;
    double best = 0;
    for (const Candidate* candidate : {&thinConv(), &directConv(), &winogradF4(), &winogradF2()}) {
      const std::string refusal = candidate->refuse(problem.query(isa.value()));
      char head[128];
      std::snprintf(head, sizeof head, "%-22s %4d x%3d -> %4d  %-14s", layer.name, layer.c,
                    layer.size, layer.k, candidate->name());
      const std::string line = head;
      if (!std::all_of(filters.begin(), filters.end(),
                       [&](const std::string& f) { return line.find(f) != std::string::npos; })) {
        continue;
      }
      if (!canRun(*candidate, problem.query(isa.value()))) continue;
      ConvRun run(problem, *candidate, isa.value());
      if (!run.status.ok()) {
        std::fprintf(stderr, "%s\n", run.status.message.c_str());
        return 1;
      }
      double seconds = 1e9;
      for (int round = 0; round < rounds; ++round)
        seconds = std::min(seconds, secondsOf(run, threads));
      std::printf("%s %8.3f ms %7.1f GMAC/s", head, seconds * 1e3, macs / seconds / 1e9);
      if (peak > 0) std::printf(" %4.0f%%", 100 * macs / seconds / 1e9 / (peak * threads));
      std::printf("%s%s\n", refusal.empty() ? "" : "  refused: ", refusal.c_str());
      if (refusal.empty() && (best == 0 || seconds < best)) best = seconds;
    }
    total18 += best * layer.in18;
    total50 += best * layer.in50;
  }
  if (filters.empty()) {
    std::printf("best of the admitted: ResNet-18 %.2f ms, ResNet-50 %.2f ms a batch\n",
                total18 * 1e3, total50 * 1e3);
  }
  return 0;
}
