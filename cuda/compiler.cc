#include "cuda/compiler.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>
#include <thread>
#include <type_traits>

#include "core/memory_plan.h"
#include "cuda/ceilings.h"
#include "cuda/kernels/kernels.h"

namespace resnet::cuda {
namespace {

constexpr size_t kArenaAlignment = 256;  // what cudaMalloc gives, and vector loads need

bool relu(Activation activation) { return activation == Activation::kRelu; }

std::string bytesText(size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", double(bytes) / (1 << 20));
  return bytes == 0 ? "no workspace" : std::string(text) + " workspace";
}

std::string timeText(const EngineChoice& choice) {
  if (choice.milliseconds <= 0) return choice.cached ? "unmeasured, cached" : "unmeasured";
  char text[48];
  std::snprintf(text, sizeof text, "%.4f ms%s", choice.milliseconds,
                choice.cached ? " in an earlier race" : " in the race");
  return text;
}

PoolArguments poolArguments(const PoolStep& step, View from, View to, ImageOrder order) {
  PoolArguments arguments;
  arguments.order = order;
  arguments.from = from;
  arguments.to = to;
  arguments.kernelH = step.kernel.h;
  arguments.kernelW = step.kernel.w;
  arguments.strideH = step.stride.h;
  arguments.strideW = step.stride.w;
  arguments.padH = step.padding.h;
  arguments.padW = step.padding.w;
  arguments.dilationH = step.dilation.h;
  arguments.dilationW = step.dilation.w;
  arguments.countIncludePad = step.countIncludePad;
  return arguments;
}

// The step as a convolution; null when it is none.
std::optional<ConvStep> convolutionOf(const Step& step) {
  if (const auto* conv = std::get_if<ConvStep>(&step.body)) return *conv;
  if (const auto* linear = std::get_if<LinearStep>(&step.body)) return asConv(*linear);
  return std::nullopt;
}

}  // namespace

struct Compiler::Place {
  View value;
  size_t offset = 0;
  View at(std::byte* arena) const {
    View result = value;
    result.data = arena + offset;
    return result;
  }
};

Compiler::Compiler(CudaProgram& program, Schedule& schedule, const Workshop& workshop,
                   const Weights& weights, const Control& control)
    : program_(program),
      schedule_(schedule),
      workshop_(workshop),
      weights_(weights),
      control_(control),
      plan_(program.plan_),
      device_(*program.device_) {}

Status Compiler::run() {
  for (const ValueInfo& value : plan_.values) {
    const int pitch = paddedChannels(value.c);
    views_.push_back({nullptr, schedule_.images, value.h, value.w, value.c, pitch, value.dtype});
  }
  schedule_.choices.resize(plan_.steps.size());
  orders_.assign(plan_.values.size(), ImageOrder::kForward);
  RESNET_RETURN_IF_ERROR(chooseEngines());
  placeValues();
  RESNET_RETURN_IF_ERROR(foldWeights());
  for (int s = 0; s < int(plan_.steps.size()); ++s) {
    if (control_.stop()) return Status::aborted();
    Status status = lower(s);
    if (!status.ok()) return std::move(status).at(plan_.steps[size_t(s)].name);
  }
  return Status::okay();
}

// --- engines

Status Compiler::chooseEngines() {
  engines_.resize(plan_.steps.size());
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    if (control_.stop()) return Status::aborted();
    const std::optional<ConvStep> conv = convolutionOf(plan_.steps[s]);
    if (!conv) continue;
    auto engine = chooseEngine(*conv);
    if (!engine.ok()) return engine.takeStatus().at(plan_.steps[s].name);
    engines_[s] = engine.take();
    schedule_.choices[s] = engines_[s].choice;
  }
  return Status::okay();
}

// Grouped where cuDNN takes the groups as they are; otherwise one group with block-diagonal weights,
// which costs arithmetic but exists for every shape.
Result<Compiler::Engine> Compiler::chooseEngine(const ConvStep& step) {
  if (step.groups == 1) return engineFor(shapeOf(step, false));
  const bool padded = plan_.values[size_t(step.input)].c % kChannelAlignment != 0 ||
                      step.k % kChannelAlignment != 0;
  std::string reason = "channels are padded to a multiple of 8";
  if (!padded) {
    auto grouped = engineFor(shapeOf(step, false));
    if (grouped.ok() || grouped.status().code != Code::kUnsupported) return grouped;
    reason = grouped.status().message;
  }
  auto joined = engineFor(shapeOf(step, true));
  if (joined.ok()) {
    Choice& choice = joined.value().choice;
    choice.refused.insert(choice.refused.begin(),
                          std::to_string(step.groups) + " groups: " + reason);
    choice.implementation += ", groups joined";
  }
  return joined;
}

ConvolutionShape Compiler::shapeOf(const ConvStep& step, bool joinGroups) const {
  const View &x = views_[size_t(step.input)], &y = views_[size_t(step.output)];
  ConvolutionShape shape;
  shape.n = x.n;
  shape.h = x.h;
  shape.w = x.w;
  shape.c = x.pitch;
  shape.k = y.pitch;
  shape.kernelH = step.kernel.h;
  shape.kernelW = step.kernel.w;
  shape.strideH = step.stride.h;
  shape.strideW = step.stride.w;
  shape.padH = step.padding.h;
  shape.padW = step.padding.w;
  shape.dilationH = step.dilation.h;
  shape.dilationW = step.dilation.w;
  shape.groups = joinGroups ? 1 : step.groups;
  shape.residual = step.residual != kNoValue;
  shape.relu = relu(step.activation);
  shape.dtype = x.dtype;
  shape.outputType = y.dtype;
  shape.tf32 = x.dtype == DType::kFloat32 && program_.options_.precision == Float32Precision::kTf32;
  return shape;
}

Result<Compiler::Engine> Compiler::engineFor(const ConvolutionShape& shape) {
  for (const Engine& known : distinct_) {
    if (known.shape == shape) return known;
  }
  auto choice = cuda::chooseEngine(*program_.cudnn_, shape, workshop_.stream, workshop_.choose);
  if (!choice.ok()) return choice.takeStatus();
  Engine chosen;
  chosen.shape = shape;
  chosen.engine = choice.value().engine;
  chosen.choice.milliseconds = choice.value().milliseconds;
  chosen.choice.workspaceBytes = chosen.engine->workspaceBytes();
  chosen.choice.refused = std::move(choice.value().refused);
  chosen.choice.implementation = "cudnn " + choice.value().name + " (" + timeText(choice.value()) +
                                 ", " + bytesText(chosen.engine->workspaceBytes()) + ")";
  distinct_.push_back(chosen);
  return chosen;
}

// --- weights

// Reading and folding is most of a compilation that finds its engines cached: on a few threads. The
// first failure in step order is the one reported.
Status Compiler::foldWeights() {
  constexpr unsigned kMaxThreads = 8;
  folded_.resize(plan_.steps.size());
  std::vector<Status> failures(plan_.steps.size());
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&]() noexcept {
    for (size_t s = next++; s < plan_.steps.size() && !failed; s = next++) {
      const std::optional<ConvStep> conv = convolutionOf(plan_.steps[s]);
      if (!conv) continue;
      failures[s] = control_.stop() ? Status::aborted() : foldStep(s, *conv);
      if (!failures[s].ok()) failed = true;
    }
  };
  std::vector<std::thread> helpers;
  const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, kMaxThreads);
  try {
    for (unsigned i = 1; i < threads; ++i) helpers.emplace_back(work);
  } catch (const std::system_error&) {  // fewer helpers, the same result
  }
  work();
  for (std::thread& helper : helpers) helper.join();
  for (Status& failure : failures) {
    if (!failure.ok()) return std::move(failure);
  }
  return Status::okay();
}

Status Compiler::foldStep(size_t s, const ConvStep& step) noexcept {
  try {  // std::vector reports a lack of memory by throwing
    auto host = foldForDevice(device_, weights_, step, plan_.values[size_t(step.input)].c,
                              engines_[s].shape);
    if (!host.ok()) return host.takeStatus().at(plan_.steps[s].name);
    folded_[s] = host.take();
    return Status::okay();
  } catch (const std::bad_alloc&) {
    return Status{Code::kOutOfMemory, "no host memory left to fold the weights of this step",
                  plan_.steps[s].name};
  }
}

// --- memory

// By liveness. A value lives from the step that writes it to the last that reads it, both included,
// so that no step's outputs share memory with its inputs: cuDNN forbids it. Borders run before and
// after the steps: what an input step writes lives from the beginning, what an output step reads to
// the end.
void Compiler::placeValues() {
  const int steps = int(plan_.steps.size());
  std::vector<BufferRequest> requests(plan_.values.size() + plan_.steps.size());
  for (size_t v = 0; v < plan_.values.size(); ++v) {
    const View& view = views_[v];
    requests[v].bytes = size_t(view.n) * view.h * view.w * view.pitch * dtypeBytes(view.dtype);
  }
  for (int s = 0; s < steps; ++s) {
    const Step& step = plan_.steps[size_t(s)];
    for (ValueId v : stepOutputs(step)) {
      requests[size_t(v)].firstStep = step.kind == StepKind::kInput ? 0 : s;
      requests[size_t(v)].lastStep = s;
    }
    for (ValueId v : stepInputs(step))
      requests[size_t(v)].lastStep =
          step.kind == StepKind::kOutput ? steps : std::max(s, requests[size_t(v)].lastStep);
    BufferRequest& workspace = requests[plan_.values.size() + size_t(s)];
    if (engines_[size_t(s)].engine != nullptr)
      workspace.bytes = engines_[size_t(s)].engine->workspaceBytes();
    workspace.firstStep = workspace.lastStep = s;
  }
  const MemoryPlan memory = planMemory(requests, kArenaAlignment);
  offsets_.assign(memory.offsets.begin(), memory.offsets.begin() + ptrdiff_t(plan_.values.size()));
  workspaces_.assign(memory.offsets.begin() + ptrdiff_t(plan_.values.size()), memory.offsets.end());
  schedule_.trackBytes = (memory.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

Compiler::Place Compiler::place(ValueId v) const {
  return {views_[size_t(v)], offsets_[size_t(v)]};
}

void Compiler::keep(std::shared_ptr<const PackedBuffer> buffer) {
  const auto known = std::find(program_.weights_.begin(), program_.weights_.end(), buffer);
  if (known != program_.weights_.end()) return;
  program_.weightBytes_ += buffer->bytes;
  program_.weights_.push_back(std::move(buffer));
}

Status Compiler::keepFloats(const std::string& key, const std::vector<float>& floats,
                            const float*& data) {
  auto buffer = packFloats(device_, weights_, key, floats);
  if (!buffer.ok()) return buffer.takeStatus();
  data = static_cast<const float*>(buffer.value()->data);
  keep(buffer.take());
  return Status::okay();
}

// --- steps

// Against the order in which `value` was written: what was written last is still in the cache.
ImageOrder Compiler::against(ValueId value) const {
  return orders_[size_t(value)] == ImageOrder::kForward ? ImageOrder::kReverse
                                                        : ImageOrder::kForward;
}

Operation& Compiler::addOperation(int s) {
  const Step& step = plan_.steps[size_t(s)];
  Operation& operation = schedule_.operations.emplace_back();
  operation.step = &step.name;
  operation.index = size_t(s);
  const bool tf32 = program_.options_.precision == Float32Precision::kTf32;
  operation.least = leastMilliseconds(plan_, step, schedule_.images, tf32, device_.info().ceilings);
  return operation;
}

template <typename Kernel>
void Compiler::addKernel(int s, const std::vector<ValueId>& values, const char* name,
                         Kernel kernel) {
  Place places[3];
  for (size_t i = 0; i < values.size(); ++i) places[i] = place(values[i]);
  schedule_.choices[size_t(s)].implementation = std::string("kernel ") + name;
  Operation& operation = addOperation(s);
  const auto enqueued = [](cudaError_t error) { return checkCuda(error, "launching a kernel"); };
  if constexpr (std::is_invocable_v<Kernel, View, View, View, ImageOrder, cudaStream_t>) {
    operation.order = orders_[size_t(values[1])] = against(values[0]);
    operation.enqueue = [a = places[0], b = places[1], c = places[2], kernel, enqueued](
                            std::byte* arena, ImageOrder order, cudaStream_t stream) {
      return enqueued(kernel(a.at(arena), b.at(arena), c.at(arena), order, stream));
    };
  } else {
    operation.enqueue = [a = places[0], b = places[1], c = places[2], kernel, enqueued](
                            std::byte* arena, ImageOrder, cudaStream_t stream) {
      return enqueued(kernel(a.at(arena), b.at(arena), c.at(arena), stream));
    };
  }
}

Status Compiler::lower(int s) {
  const Step& step = plan_.steps[size_t(s)];
  if (const std::optional<ConvStep> conv = convolutionOf(step)) return lower(s, *conv);
  switch (step.kind) {
    case StepKind::kMaxPool:
    case StepKind::kAvgPool:
      return lower(s, std::get<PoolStep>(step.body));
    case StepKind::kAffine:
      return lower(s, std::get<AffineStep>(step.body));
    case StepKind::kInput:
      return lower(s, std::get<InputStep>(step.body));
    case StepKind::kOutput:
      lower(s, std::get<OutputStep>(step.body));
      return Status::okay();
    case StepKind::kGlobalAvgPool: {
      const auto& pool = std::get<GlobalAvgPoolStep>(step.body);
      addKernel(s, {pool.input, pool.output}, "globalAvgPool",
                [](View from, View to, View, ImageOrder order, cudaStream_t stream) {
                  return globalAvgPool(from, to, order, stream);
                });
      return Status::okay();
    }
    case StepKind::kAdd: {
      const auto& sum = std::get<AddStep>(step.body);
      addKernel(s, {sum.a, sum.b, sum.output}, "add",
                [active = relu(sum.activation)](View a, View b, View to, cudaStream_t stream) {
                  return cuda::add(a, b, to, active, stream);
                });
      return Status::okay();
    }
    case StepKind::kActivation: {
      const auto& activation = std::get<ActivationStep>(step.body);
      addKernel(s, {activation.input, activation.output}, "relu",
                [](View from, View to, View, cudaStream_t stream) {
                  return cuda::relu(from, to, stream);
                });
      return Status::okay();
    }
    case StepKind::kSoftmax: {
      const auto& softmaxStep = std::get<SoftmaxStep>(step.body);
      addKernel(
          s, {softmaxStep.input, softmaxStep.output}, "softmax",
          [](View from, View to, View, cudaStream_t stream) { return softmax(from, to, stream); });
      return Status::okay();
    }
    case StepKind::kTopK: {
      const auto& top = std::get<TopKStep>(step.body);
      addKernel(s, {top.input, top.scores, top.indices}, "topK",
                [k = top.k](View from, View scores, View indices, cudaStream_t stream) {
                  return topK(from, scores, indices, k, stream);
                });
      return Status::okay();
    }
    case StepKind::kConv:
    case StepKind::kLinear:
      break;
  }
  return Status::error(Code::kInternal, "a step of unknown kind");
}

Status Compiler::lower(int s, const ConvStep& step) {
  const Engine& chosen = engines_[size_t(s)];
  const int channels = plan_.values[size_t(step.input)].c;
  auto weights = packConvolution(device_, weights_, step, channels, chosen.shape,
                                 std::move(folded_[size_t(s)]));
  if (!weights.ok()) return weights.takeStatus();
  keep(weights.value().buffer);

  ConvolutionBuffers fixed;
  fixed.weight = weights.value().weight;
  fixed.bias = weights.value().bias;
  const bool residual = step.residual != kNoValue;
  const size_t x = offsets_[size_t(step.input)], y = offsets_[size_t(step.output)],
               r = residual ? offsets_[size_t(step.residual)] : 0,
               workspace = workspaces_[size_t(s)];
  addOperation(s).enqueue = [engine = chosen.engine, fixed, residual, x, y, r, workspace](
                                std::byte* arena, ImageOrder, cudaStream_t stream) {
    ConvolutionBuffers buffers = fixed;
    buffers.input = arena + x;
    buffers.output = arena + y;
    buffers.residual = residual ? arena + r : nullptr;
    buffers.workspace = engine->workspaceBytes() > 0 ? arena + workspace : nullptr;
    return engine->enqueue(buffers, stream);
  };
  return Status::okay();
}

Status Compiler::lower(int s, const PoolStep& step) {
  if (plan_.steps[size_t(s)].kind == StepKind::kMaxPool) {
    addKernel(s, {step.input, step.output}, "maxPool",
              [step](View from, View to, View, ImageOrder order, cudaStream_t stream) {
                return maxPool(poolArguments(step, from, to, order), stream);
              });
  } else {
    addKernel(s, {step.input, step.output}, "avgPool",
              [step](View from, View to, View, ImageOrder order, cudaStream_t stream) {
                return avgPool(poolArguments(step, from, to, order), stream);
              });
  }
  return Status::okay();
}

Status Compiler::lower(int s, const AffineStep& step) {
  const int channels = plan_.values[size_t(step.input)].c;
  auto folded = foldNorm(step.norm, channels, weights_);
  if (!folded.ok()) return folded.takeStatus();
  ConvStep names;  // packingKey() names a norm's parameters
  names.norm = step.norm;
  std::vector<float> both = folded.value().scale;
  both.insert(both.end(), folded.value().shift.begin(), folded.value().shift.end());
  const float* scale = nullptr;
  RESNET_RETURN_IF_ERROR(keepFloats(packingKey("affine", names, channels), both, scale));
  addKernel(s, {step.input, step.output}, "affine",
            [scale, shift = scale + channels, active = relu(step.activation)](
                View from, View to, View, cudaStream_t stream) {
              return affine(from, to, scale, shift, active, stream);
            });
  return Status::okay();
}

Status Compiler::lower(int s, const InputStep& step) {
  const ValueInfo& value = plan_.values[size_t(step.output)];
  InputBorder border;
  border.step = &plan_.steps[size_t(s)].name;
  border.index = step.index;
  border.type = step.dtype;
  border.nhwc = step.layout == MemoryLayout::kNhwc;
  border.value = views_[size_t(step.output)];
  // A copy has written the images forward, or a caller somehow.
  border.order = orders_[size_t(step.output)] = ImageOrder::kReverse;
  border.offset = offsets_[size_t(step.output)];
  border.resize = step.resize;
  if (!step.resize)
    border.imageBytes = size_t(value.h) * value.w * value.c * dtypeBytes(step.dtype);
  if (step.dtype == DType::kUint8) {
    std::vector<float> both(2 * size_t(value.c));
    std::string key = "normalisation";
    for (int c = 0; c < value.c; ++c) {
      both[size_t(c)] = step.mean.empty() ? 0.0f : step.mean[size_t(c)];
      both[size_t(value.c + c)] = step.std.empty() ? 1.0f : step.std[size_t(c)];
    }
    for (float number : both) {
      uint32_t bits;
      std::memcpy(&bits, &number, sizeof bits);
      key += ' ' + std::to_string(bits);
    }
    RESNET_RETURN_IF_ERROR(keepFloats(key, both, border.mean));
    border.std = border.mean + value.c;
  }
  schedule_.choices[size_t(s)].implementation = step.resize ? "kernel resize" : "kernel input";
  schedule_.inputs.push_back(border);
  return Status::okay();
}

void Compiler::lower(int s, const OutputStep& step) {
  const ValueInfo& value = plan_.values[size_t(step.input)];
  OutputBorder border;
  border.step = &plan_.steps[size_t(s)].name;
  border.index = step.index;
  border.nhwc = step.layout == MemoryLayout::kNhwc;
  border.value = views_[size_t(step.input)];
  border.order = against(step.input);
  border.offset = offsets_[size_t(step.input)];
  border.imageBytes = size_t(value.h) * value.w * value.c * sizeof(float);  // int32 is as wide
  schedule_.choices[size_t(s)].implementation = "kernel output";
  schedule_.outputs.push_back(border);
}

}  // namespace resnet::cuda
