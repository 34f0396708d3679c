// Plans and runs that the backend's tests share: ResNet-18 by formula, a whole submission.
#pragma once

#include <cmath>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/plan.h"
#include "core/weights.h"
#include "test/cuda/difference.h"

namespace resnet::test {

// A plan and the formula of its parameters, built step by step.
class Network {
 public:
  Network(int height, int width, DType dtype) : dtype_(dtype) {
    last_ = define("pixels", height, width, 3, dtype_);
    add(StepKind::kInput, "input",
        InputStep{last_, 0, DType::kFloat32, MemoryLayout::kNchw, {}, {}});
    plan.inputs = 1;
  }

  // conv -> norm -> (+ residual) -> (relu). `gain`: of the norm.
  ValueId conv(const std::string& name, ValueId input, int k, int kernel, int stride,
               ValueId residual, bool relu, float gain = 1) {
    const ValueInfo from = plan.values[size_t(input)];
    ConvStep step;
    step.input = input;
    step.k = k;
    step.kernel = {kernel, kernel};
    step.stride = {stride, stride};
    step.padding = {kernel / 2, kernel / 2};
    step.residual = residual;
    step.activation = relu ? Activation::kRelu : Activation::kNone;
    step.weight = name + ".weight";
    const float bound = std::sqrt(6.0f / float(from.c * kernel * kernel));
    parameter(step.weight, {k, from.c, kernel, kernel}, -bound, bound);
    const std::string norm = name + ".norm";
    step.norm = NormNames{norm + ".weight", norm + ".bias", norm + ".mean", norm + ".var"};
    parameter(step.norm->weight, {k}, 0.8f * gain, 1.2f * gain);
    parameter(step.norm->bias, {k}, -0.1f, 0.1f);
    parameter(step.norm->mean, {k}, -0.1f, 0.1f);
    parameter(step.norm->var, {k}, 0.5f, 1.5f);
    const auto size = [&](int in) { return (in + 2 * (kernel / 2) - kernel) / stride + 1; };
    step.output = define(name, size(from.h), size(from.w), k, dtype_);
    add(StepKind::kConv, name, step);
    return step.output;
  }
  ValueId maxPool(ValueId input) {
    const ValueInfo from = plan.values[size_t(input)];
    PoolStep step;
    step.input = input;
    step.kernel = {3, 3};
    step.stride = {2, 2};
    step.padding = {1, 1};
    step.output = define("maxpool", (from.h - 1) / 2 + 1, (from.w - 1) / 2 + 1, from.c, dtype_);
    add(StepKind::kMaxPool, "maxpool", step);
    return step.output;
  }
  ValueId head(ValueId input, int classes) {
    const int c = plan.values[size_t(input)].c;
    const ValueId pooled = define("pooled", 1, 1, c, dtype_);
    add(StepKind::kGlobalAvgPool, "avgpool", GlobalAvgPoolStep{input, pooled});
    const ValueId logits = define("logits", 1, 1, classes, DType::kFloat32);
    add(StepKind::kLinear, "fc", LinearStep{pooled, logits, classes, "fc.weight", "fc.bias"});
    const float bound = std::sqrt(6.0f / float(c));
    parameter("fc.weight", {classes, c}, -bound, bound);
    parameter("fc.bias", {classes}, -0.1f, 0.1f);
    return logits;
  }
  void topK(ValueId input, int k) {
    const ValueId scores = define("scores", 1, 1, k, DType::kFloat32);
    const ValueId indices = define("indices", 1, 1, k, DType::kInt32);
    add(StepKind::kTopK, "topk", TopKStep{input, scores, indices, k});
    output(scores);
    output(indices);
  }
  void output(ValueId value, MemoryLayout layout = MemoryLayout::kNchw) {
    add(StepKind::kOutput, "out." + plan.values[size_t(value)].name,
        OutputStep{value, plan.outputs++, layout});
  }
  std::shared_ptr<const Weights> weights() const { return makeFormulaWeights(7, tensors_); }

  Plan plan;
  ValueId input() const { return last_; }

 private:
  ValueId define(const std::string& name, int h, int w, int c, DType dtype) {
    plan.values.push_back({name, h, w, c, dtype});
    return ValueId(plan.values.size()) - 1;
  }
  void add(StepKind kind, const std::string& name, StepBody body) {
    plan.steps.push_back({kind, name, std::move(body)});
  }
  void parameter(const std::string& name, std::vector<int64_t> shape, float lo, float hi) {
    plan.parameters.push_back({name, shape});
    tensors_.push_back({name, std::move(shape), lo, hi});
  }

  const DType dtype_;
  ValueId last_ = kNoValue;
  std::vector<FormulaTensor> tensors_;
};

// torchvision's resnet18 for `size` x `size` pixels: logits, top 5 and the second stage's features.
inline Network resnet18(int size, DType dtype, int classes = 100) {
  Network net(size, size, dtype);
  ValueId x = net.maxPool(net.conv("conv1", net.input(), 64, 7, 2, kNoValue, true));
  ValueId features = kNoValue;
  for (int stage = 0; stage < 4; ++stage) {
    const int width = 64 << stage;
    for (int block = 0; block < 2; ++block) {
      const std::string name = "layer" + std::to_string(stage + 1) + "." + std::to_string(block);
      const int stride = stage > 0 && block == 0 ? 2 : 1;
      const ValueId inner = net.conv(name + ".conv1", x, width, 3, stride, kNoValue, true);
      const ValueId residual =
          stride == 1 ? x : net.conv(name + ".downsample", x, width, 1, stride, kNoValue, false);
      x = net.conv(name + ".conv2", inner, width, 3, 1, residual, true, 0.5f);
    }
    if (stage == 1) features = x;
  }
  const ValueId logits = net.head(x, classes);
  net.output(logits);
  net.topK(logits, 5);
  net.output(features);
  return net;
}

// A bottleneck network of few operations, for tests that run often: stem, one block, head.
inline Network smallNetwork(int size, DType dtype) {
  Network net(size, size, dtype);
  ValueId x = net.conv("conv1", net.input(), 12, 3, 2, kNoValue, true);
  const ValueId inner = net.conv("conv2", x, 20, 3, 1, kNoValue, true);
  x = net.conv("conv3", inner, 12, 1, 1, x, true);
  net.output(net.head(x, 10));
  return net;
}

inline size_t elements(const ValueInfo& value) { return size_t(value.h) * value.w * value.c; }

// A lane's answer, waited for.
class Answer {
 public:
  std::function<void(Status)> done() {
    return [this](Status status) {
      std::lock_guard lock(mutex_);
      status_ = std::move(status);
      ++calls_;
      settled_.notify_all();
    };
  }
  Status wait() {
    std::unique_lock lock(mutex_);
    settled_.wait(lock, [&] { return calls_ > 0; });
    return status_;
  }
  int calls() {
    std::lock_guard lock(mutex_);
    return calls_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable settled_;
  Status status_;
  int calls_ = 0;
};

// Inputs by formula and outputs in host memory, as bytes since outputs differ in type. Outputs begin
// as NaN (or -1 for int32).
struct Images {
  Images(const Plan& plan, int batch, int seed = 1) : batch(batch) {
    for (const Step& step : plan.steps) {
      if (const auto* in = std::get_if<InputStep>(&step.body)) {
        const ValueInfo& value = plan.values[size_t(in->output)];
        imageBytes = elements(value) * dtypeBytes(in->dtype);
        input.resize(imageBytes * size_t(batch));
        for (size_t i = 0; i < input.size() / dtypeBytes(in->dtype); ++i) {
          const uint32_t mixed = uint32_t((i + 1) * 2654435761u + size_t(seed) * 40503u);
          if (in->dtype == DType::kUint8) {
            input[i] = uint8_t(mixed >> 24);
          } else {
            reinterpret_cast<float*>(input.data())[i] = float(mixed >> 8) * 0x1p-23f - 1;
          }
        }
      } else if (const auto* out = std::get_if<OutputStep>(&step.body)) {
        if (outputs.size() <= size_t(out->index)) outputs.resize(size_t(out->index) + 1);
        outputs[size_t(out->index)].assign(
            elements(plan.values[size_t(out->input)]) * size_t(batch), NAN);
      }
    }
  }
  // Whole images, in pieces of at most `piece` images.
  Submission submission(int piece = 1 << 30) {
    Submission result;
    result.batch = batch;
    result.inputs.resize(1);
    result.outputs.resize(outputs.size());
    for (int first = 0; first < batch; first += piece) {
      const int images = std::min(piece, batch - first);
      result.inputs[0].push_back({input.data() + size_t(first) * imageBytes, images});
      for (size_t i = 0; i < outputs.size(); ++i) {
        const size_t each = outputs[i].size() / size_t(batch);
        result.outputs[i].push_back({outputs[i].data() + size_t(first) * each, images});
      }
    }
    return result;
  }

  int batch;
  size_t imageBytes = 0;
  std::vector<uint8_t> input;
  std::vector<std::vector<float>> outputs;  // int32 by its bits
};

inline Status runOnce(Lane& lane, Submission submission,
                      std::shared_ptr<const Control> control = nullptr) {
  Answer answer;
  lane.submit(std::move(submission), std::move(control), answer.done());
  return answer.wait();
}

}  // namespace resnet::test
