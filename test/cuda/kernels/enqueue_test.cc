// With resnetSimulatedEnqueue in the process a launch goes there instead of running: to run later,
// more than once, and to be dropped.
#include "cuda/kernels/kernels.h"
#include "cuda/kernels/launch.h"
#include "device_value.h"
#include "test/native/check.h"

using namespace resnet;
using namespace resnet::test;

namespace {

struct Queued {
  cudaStream_t stream;
  void (*run)(void*);
  void* context;
  void (*drop)(void*);
};
std::vector<Queued> queue;
bool refuse = false;

}  // namespace

extern "C" cudaError_t resnetSimulatedEnqueue(cudaStream_t stream, void (*run)(void*),
                                              void* context, void (*drop)(void*)) {
  if (refuse) {
    drop(context);
    return cudaErrorStreamCaptureInvalidated;
  }
  queue.push_back({stream, run, context, drop});
  return cudaSuccess;
}

TEST("a launch waits in the queue, runs as often as it is told, and is dropped") {
  const auto stream = reinterpret_cast<cudaStream_t>(uintptr_t{16});
  const Shape shape{1, 2, 2, 8};
  Value x(shape, DType::kFloat16, Placement::kPadded),
      y(shape, DType::kFloat16, Placement::kPadded);
  const auto expect = [&](int n, int h, int w, int c) { return std::max(0.0, x.get(n, h, w, c)); };
  CHECK_EQ(cuda::relu(x.view, y.view, stream), cudaSuccess);
  CHECK_EQ(queue.size(), size_t{1});
  CHECK(queue[0].stream == stream);
  CHECK(std::isnan(y.get(0, 0, 0, 0)));
  for (int times : {1, 2}) {
    x.fill([=](int, int h, int w, int c) { return times * (h + w - c); });
    queue[0].run(queue[0].context);
    Report report;
    y.check(report, expect, {});
    CHECK_EQ(report.fault, std::string());
  }
  queue[0].drop(queue[0].context);
  queue.clear();
}

TEST("the error of a queue that refuses is the launch's") {
  Value x({1, 1, 1, 8}, DType::kFloat32, Placement::kPadded);
  refuse = true;
  CHECK_EQ(cuda::relu(x.view, x.view, nullptr), cudaErrorStreamCaptureInvalidated);
  refuse = false;
}

int main(int argc, char** argv) { return runCases(argc, argv); }
