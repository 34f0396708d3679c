// Residual networks as plans, with parameters by formula: what the tests run whole.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/plan.h"
#include "core/weights.h"

namespace resnet::test {

// Of a family's member, or of a smaller relative with the same kinds of layers.
struct NetworkShape {
  std::string name = "resnet18";
  bool bottleneck = false;
  std::vector<int> depths = {2, 2, 2, 2};
  int width = 64;  // of the first stage
  int groups = 1, widthPerGroup = 64;
  bool cifar = false;  // the stem: one 3x3, no pool
  int size = 64;       // height of the input; its width is 8 less
  int classes = 10;
  int dilatedFrom = 99;  // stages from here on dilate instead of striding
  DType dtype = DType::kFloat16;
  bool pixels = false;    // uint8 NHWC input, normalised on the device
  bool classify = false;  // softmax and the best 3
  bool features = false;  // the first stage's map is an output too
};

class Network {
 public:
  explicit Network(const NetworkShape& given) : shape_(given) {
    plan.inputs = 1;
    ValueId x = value("input", shape_.size, shape_.size - 8, 3, shape_.dtype);
    InputStep input{x, 0, DType::kFloat32, MemoryLayout::kNchw, {}, {}};
    if (shape_.pixels)
      input = {
          x, 0, DType::kUint8, MemoryLayout::kNhwc, {0.48f, 0.45f, 0.4f}, {0.22f, 0.23f, 0.24f}};
    plan.steps.push_back({StepKind::kInput, "input", input});
    x = shape_.cifar ? conv("conv1", x, shape_.width, 3, 1, 1, 1, kNoValue, true) : stem(x);
    for (int stage = 0; stage < int(shape_.depths.size()); ++stage) {
      for (int b = 0; b < shape_.depths[size_t(stage)]; ++b) x = block(stage, b, x);
      if (stage == 0 && shape_.features) output("features", x);
    }
    const int channels = plan.values[size_t(x)].c;
    const ValueId vector = value("pooled", 1, 1, channels, shape_.dtype);
    plan.steps.push_back({StepKind::kGlobalAvgPool, "avgpool", GlobalAvgPoolStep{x, vector}});
    const ValueId logits = value("logits", 1, 1, shape_.classes, DType::kFloat32);
    plan.steps.push_back({StepKind::kLinear, "fc",
                          LinearStep{vector, logits, shape_.classes, "fc.weight", "fc.bias"}});
    parameter("fc.weight", {shape_.classes, channels}, -0.3f, 0.3f);
    parameter("fc.bias", {shape_.classes}, -1, 1);
    output("logits", logits);
    if (shape_.classify) classify(logits);
  }

  // The same with every value in float32: what the CPU runs.
  Plan reference() const {
    Plan same = plan;
    for (ValueInfo& info : same.values)
      if (info.dtype != DType::kInt32) info.dtype = DType::kFloat32;
    return same;
  }

  size_t inputBytes() const {
    const size_t elements = size_t(shape_.size) * size_t(shape_.size - 8) * 3;
    return shape_.pixels ? elements : 4 * elements;
  }

  Plan plan;
  std::vector<FormulaTensor> tensors;
  std::vector<size_t> outputElements;  // of one image; every element has 4 bytes

 private:
  ValueId value(const std::string& name, int h, int w, int c, DType dtype) {
    plan.values.push_back({name, h, w, c, dtype});
    return ValueId(plan.values.size()) - 1;
  }

  void parameter(const std::string& name, std::vector<int64_t> dims, float lo, float hi) {
    tensors.push_back({name, dims, lo, hi});
    plan.parameters.push_back({name, std::move(dims)});
  }

  void output(const std::string& name, ValueId from) {
    const ValueInfo& info = plan.values[size_t(from)];
    plan.steps.push_back({StepKind::kOutput, "output." + name,
                          OutputStep{from, plan.outputs++, MemoryLayout::kNchw}});
    outputElements.push_back(size_t(info.h) * size_t(info.w) * size_t(info.c));
  }

  ValueId stem(ValueId x) {
    x = conv("conv1", x, shape_.width, 7, 2, 1, 1, kNoValue, true);
    const ValueInfo in = plan.values[size_t(x)];
    const ValueId pooled =
        value("maxpool", (in.h - 1) / 2 + 1, (in.w - 1) / 2 + 1, in.c, shape_.dtype);
    plan.steps.push_back(
        {StepKind::kMaxPool, "maxpool", PoolStep{x, pooled, {3, 3}, {2, 2}, {1, 1}, {1, 1}}});
    return pooled;
  }

  ValueId block(int stage, int b, ValueId x) {
    const std::string name = "layer" + std::to_string(stage + 1) + "." + std::to_string(b);
    const int planes = shape_.width << stage;
    const int inner =
        shape_.bottleneck ? planes * shape_.widthPerGroup / 64 * shape_.groups : planes;
    const int out = shape_.bottleneck ? 4 * planes : planes;
    const bool dilates = stage >= shape_.dilatedFrom;
    const int stride = stage > 0 && b == 0 && !dilates ? 2 : 1;
    const int dilation = dilates ? 1 << (stage - shape_.dilatedFrom + (b > 0 ? 1 : 0)) : 1;
    const bool downsample = stride != 1 || plan.values[size_t(x)].c != out;
    const ValueId reduced =
        shape_.bottleneck ? conv(name + ".conv1", x, inner, 1, 1, 1, 1, kNoValue, true) : x;
    const ValueId y = conv(name + ".conv2", reduced, inner, 3, stride, dilation,
                           shape_.bottleneck ? shape_.groups : 1, kNoValue, true);
    const ValueId shortcut =
        downsample ? conv(name + ".downsample", x, out, 1, stride, 1, 1, kNoValue, false) : x;
    return conv(name + ".conv3", y, out, shape_.bottleneck ? 1 : 3, 1, 1, 1, shortcut, true);
  }

  ValueId conv(const std::string& name, ValueId x, int k, int kernel, int stride, int dilation,
               int groups, ValueId residual, bool relu) {
    const ValueInfo in = plan.values[size_t(x)];
    const int pad = kernel / 2 * dilation, span = dilation * (kernel - 1) + 1;
    ConvStep step;
    step.input = x;
    step.output = value(name, (in.h + 2 * pad - span) / stride + 1,
                        (in.w + 2 * pad - span) / stride + 1, k, shape_.dtype);
    step.residual = residual;
    step.k = k;
    step.kernel = {kernel, kernel};
    step.stride = {stride, stride};
    step.padding = {pad, pad};
    step.dilation = {dilation, dilation};
    step.groups = groups;
    step.weight = name + ".weight";
    step.norm = NormNames{name + ".gamma", name + ".beta", name + ".mean", name + ".var", 1e-5};
    step.activation = relu ? Activation::kRelu : Activation::kNone;
    // He's bound keeps the scale through a layer; what a residual adds to is kept small.
    const float bound = std::sqrt(6.0f / float(in.c / groups * kernel * kernel));
    const float gain = residual != kNoValue ? 0.3f : 0.8f;
    parameter(step.weight, {k, in.c / groups, kernel, kernel}, -bound, bound);
    parameter(step.norm->weight, {k}, gain * 0.6f, gain);
    parameter(step.norm->bias, {k}, -0.2f, 0.3f);
    parameter(step.norm->mean, {k}, -0.2f, 0.2f);
    parameter(step.norm->var, {k}, 0.5f, 1.5f);
    const ValueId result = step.output;
    plan.steps.push_back({StepKind::kConv, name, std::move(step)});
    return result;
  }

  void classify(ValueId logits) {
    const ValueId scores = value("softmax", 1, 1, shape_.classes, DType::kFloat32);
    plan.steps.push_back({StepKind::kSoftmax, "softmax", SoftmaxStep{logits, scores}});
    const ValueId best = value("best", 1, 1, 3, DType::kFloat32);
    const ValueId indices = value("indices", 1, 1, 3, DType::kInt32);
    plan.steps.push_back({StepKind::kTopK, "topK", TopKStep{scores, best, indices, 3}});
    output("best", best);
    output("indices", indices);
  }

  NetworkShape shape_;
};

}  // namespace resnet::test
