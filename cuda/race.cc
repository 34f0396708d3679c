#include "cuda/race.h"

#include <algorithm>
#include <cstdio>

#include "core/plan.h"
#include "cuda/owners.h"

namespace resnet::cuda {
namespace {

constexpr size_t kRotatedBytes = size_t{128} << 20;  // twice the largest L2 of today's devices
constexpr size_t kMaxSets = 16;

size_t rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }

// The sizes of a convolution's buffers.
struct Sizes {
  size_t input, weight, bias, output, residual;
  size_t set() const { return input + weight + bias + output + residual; }
};

Sizes sizesOf(const ConvolutionShape& shape) {
  const size_t in = dtypeBytes(shape.dtype), out = dtypeBytes(shape.outputType);
  const auto p =
      windowOutputSize(shape.h, shape.kernelH, shape.strideH, shape.padH, shape.dilationH, false);
  const auto q =
      windowOutputSize(shape.w, shape.kernelW, shape.strideW, shape.padW, shape.dilationW, false);
  const size_t pixels = size_t(shape.n) * size_t(p) * size_t(q);
  const auto pitch = [](int given, int dense) { return size_t(given != 0 ? given : dense); };
  Sizes sizes;
  sizes.input =
      rounded(size_t(shape.n) * shape.h * shape.w * pitch(shape.inputPitch, shape.c) * in);
  sizes.weight =
      rounded(size_t(shape.k) * shape.kernelH * shape.kernelW * (shape.c / shape.groups) * in);
  sizes.bias = rounded(size_t(shape.k) * in);
  sizes.output = rounded(pixels * pitch(shape.outputPitch, shape.k) * out);
  sizes.residual = shape.residual ? rounded(pixels * pitch(shape.residualPitch, shape.k) * in) : 0;
  return sizes;
}

class Race {
 public:
  Race(Device& device, const ConvolutionShape& shape, Autotune effort)
      : device_(device),
        sizes_(sizesOf(shape)),
        residual_(shape.residual),
        repetitions_(effort == Autotune::kFull ? 7 : 3) {}

  Status prepare(size_t workspaceBytes) {
    sets_ = std::clamp<size_t>(kRotatedBytes / sizes_.set() + 1, 2, kMaxSets);
    auto memory = device_.allocate(MemoryKind::kArenas, sets_ * sizes_.set() + workspaceBytes,
                                   "the buffers of the engines' race");
    if (!memory.ok()) return memory.takeStatus();
    memory_ = memory.take();
    // Numbers, so that no engine is timed on what happened to lie there: zeros cost what others cost
    // but for power.
    RESNET_RETURN_IF_ERROR(device_.clear(memory_.data(), memory_.bytes()));
    RESNET_RETURN_IF_ERROR(make(stream_));
    for (Event* event : {&begin_, &end_})
      RESNET_RETURN_IF_CUDA(cudaEventCreateWithFlags(event->address(), cudaEventBlockingSync),
                            "creating an event");
    return Status::okay();
  }

  // Median milliseconds of one run.
  Result<double> time(const ConvolutionEngine& engine) {
    RESNET_RETURN_IF_ERROR(engine.enqueue(buffers(0), stream_));  // loads the kernel
    std::vector<float> times;
    for (int i = 0; i < repetitions_; ++i) {
      float milliseconds = 0;
      RESNET_RETURN_IF_CUDA(cudaEventRecord(begin_, stream_), "timing an engine");
      for (size_t set = 0; set < sets_; ++set)
        RESNET_RETURN_IF_ERROR(engine.enqueue(buffers(set), stream_));
      RESNET_RETURN_IF_CUDA(cudaEventRecord(end_, stream_), "timing an engine");
      RESNET_RETURN_IF_CUDA(cudaEventSynchronize(end_), "timing an engine");
      RESNET_RETURN_IF_CUDA(cudaEventElapsedTime(&milliseconds, begin_, end_), "timing an engine");
      times.push_back(milliseconds / float(sets_));
    }
    std::nth_element(times.begin(), times.begin() + ptrdiff_t(times.size() / 2), times.end());
    return double(times[times.size() / 2]);
  }

  void settle() { cudaStreamSynchronize(stream_); }

 private:
  ConvolutionBuffers buffers(size_t set) const {
    std::byte* at = memory_.data() + set * sizes_.set();
    ConvolutionBuffers result;
    result.input = at;
    result.weight = at += sizes_.input;
    result.bias = at += sizes_.weight;
    result.output = at += sizes_.bias;
    if (residual_) result.residual = at + sizes_.output;
    result.workspace = memory_.data() + sets_ * sizes_.set();
    return result;
  }

  Device& device_;
  const Sizes sizes_;
  const bool residual_;
  const int repetitions_;
  size_t sets_ = 2;
  DeviceMemory memory_;
  Stream stream_;
  Event begin_, end_;
};

}  // namespace

Result<RaceResult> raceEngines(Device& device, const ConvolutionShape& shape,
                               const std::vector<std::shared_ptr<const ConvolutionEngine>>& engines,
                               Autotune effort, const Control& control) {
  size_t workspace = 0;
  for (const auto& engine : engines) workspace = std::max(workspace, engine->workspaceBytes());
  CurrentDevice current(device.index());
  Race race(device, shape, effort);
  RaceResult result;
  Status prepared = race.prepare(workspace);
  if (prepared.code == Code::kOutOfMemory) {
    result.refused.push_back("race: " + prepared.message);
    return result;
  }
  if (!prepared.ok()) return prepared;

  std::vector<std::pair<size_t, double>> times;
  for (size_t i = 0; i < engines.size(); ++i) {
    if (control.stop()) {
      race.settle();
      return Status::aborted();
    }
    auto time = race.time(*engines[i]);
    if (time.ok()) {
      times.emplace_back(i, time.value());
      continue;
    }
    race.settle();
    const Status failure = device.note(time.takeStatus());
    if (failure.code == Code::kDeviceLost) return failure;
    result.refused.push_back(engines[i]->name() + ": " + failure.message);
  }
  race.settle();
  if (times.empty()) {
    std::string message = "every engine failed in the race";
    for (const std::string& refusal : result.refused) message += "; " + refusal;
    return Status::error(Code::kUnsupported, message);
  }
  std::stable_sort(times.begin(), times.end(),
                   [](const auto& a, const auto& b) { return a.second < b.second; });
  result.best = times.front().first;
  result.milliseconds = times.front().second;
  for (size_t i = 1; i < times.size(); ++i) {
    char text[48];
    std::snprintf(text, sizeof text, ": %.4f ms", times[i].second);
    result.refused.push_back(engines[times[i].first]->name() + text);
  }
  return result;
}

}  // namespace resnet::cuda
