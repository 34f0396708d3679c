#include "cuda/stopwatch.h"

#include <algorithm>
#include <cmath>

namespace resnet::cuda {
namespace {

constexpr int kMaxRuns = 64;
constexpr double kLongEnoughMs = 0.5;  // a thousand times an event's resolution
constexpr double kShortestMs = 1e-6;   // what was timed is never taken for what was not

class Stopwatch {
 public:
  explicit Stopwatch(const StopwatchOptions& options) : options_(options) {}

  Status make() {
    for (Event* event : {&begin_, &end_})
      RESNET_RETURN_IF_CUDA(cudaEventCreateWithFlags(event->address(), cudaEventBlockingSync),
                            "creating an event");
    return Status::okay();
  }

  // The first run loads the kernels, the second says how often they must run to be timed.
  Status prepare(Heat& heat) {
    RESNET_RETURN_IF_ERROR(heat.enqueue());
    RESNET_RETURN_IF_CUDA(cudaStreamSynchronize(options_.stream), "a first run");
    const Result<double> first = time(heat);
    if (!first.ok()) return first.status();
    heat.runs = int(std::clamp(std::ceil(kLongEnoughMs / first.value()), 1.0, double(kMaxRuns)));
    if (!options_.graphs) return Status::okay();
    Graph graph;
    RESNET_RETURN_IF_CUDA(cudaStreamBeginCapture(options_.stream, cudaStreamCaptureModeThreadLocal),
                          "capturing a CUDA graph");
    const Status status = repeat(heat);
    const cudaError_t ended = cudaStreamEndCapture(options_.stream, graph.address());
    RESNET_RETURN_IF_ERROR(status);
    RESNET_RETURN_IF_CUDA(ended, "capturing a CUDA graph");
    RESNET_RETURN_IF_CUDA(cudaGraphInstantiate(heat.graph.address(), graph, 0),
                          "building a CUDA graph");
    return Status::okay();
  }

  Status clock(Heat& heat) {
    const Result<double> taken = time(heat);
    if (!taken.ok()) return taken.status();
    heat.milliseconds =
        heat.milliseconds == 0 ? taken.value() : std::min(heat.milliseconds, taken.value());
    return Status::okay();
  }

  template <typename Body>
  Status turn(Heat& heat, const Body& body) {
    if (!heat.refused.empty()) return Status::okay();
    if (options_.control != nullptr && options_.control->stop()) return Status::aborted();
    Status status = body(heat);
    if (status.ok()) return status;
    settle();
    if (status.code == Code::kDeviceLost || status.code == Code::kAborted) return status;
    heat.milliseconds = 0;
    heat.failure = status.code;
    heat.refused = std::move(status.message);
    return Status::okay();
  }

  // Nothing of a heat that failed may still run, or be reported for the next one.
  void settle() {
    cudaStreamSynchronize(options_.stream);
    if (options_.second != nullptr) cudaStreamSynchronize(options_.second);
    cudaGetLastError();
  }

 private:
  Status repeat(const Heat& heat) {
    for (int run = 0; run < heat.runs; ++run) RESNET_RETURN_IF_ERROR(heat.enqueue());
    return Status::okay();
  }

  Result<double> time(const Heat& heat) {
    float milliseconds = 0;
    RESNET_RETURN_IF_CUDA(cudaEventRecord(begin_, options_.stream), "timing");
    if (heat.graph != nullptr)
      RESNET_RETURN_IF_CUDA(cudaGraphLaunch(heat.graph, options_.stream), "timing");
    else
      RESNET_RETURN_IF_ERROR(repeat(heat));
    RESNET_RETURN_IF_CUDA(cudaEventRecord(end_, options_.stream), "timing");
    RESNET_RETURN_IF_CUDA(cudaEventSynchronize(end_), "timing");
    RESNET_RETURN_IF_CUDA(cudaEventElapsedTime(&milliseconds, begin_, end_), "timing");
    return std::max(double{milliseconds} / heat.runs, kShortestMs);
  }

  const StopwatchOptions& options_;
  Event begin_, end_;
};

}  // namespace

Status timeHeats(std::vector<Heat>& heats, const StopwatchOptions& options) {
  Stopwatch watch(options);
  RESNET_RETURN_IF_ERROR(watch.make());
  Status status;
  for (Heat& heat : heats) {
    if (status.ok()) status = watch.turn(heat, [&](Heat& each) { return watch.prepare(each); });
  }
  for (int round = 0; round < options.rounds; ++round) {
    for (Heat& heat : heats) {
      if (status.ok()) status = watch.turn(heat, [&](Heat& each) { return watch.clock(each); });
    }
  }
  watch.settle();  // before the memory goes
  return status;
}

}  // namespace resnet::cuda
