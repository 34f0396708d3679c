// What a plan's numbers must satisfy: ids, order, shapes that follow from the steps, bounds,
// parameters.
#include <cmath>
#include <unordered_map>

#include "core/json.h"
#include "core/plan.h"
#include "core/shape.h"

namespace resnet {

namespace {

struct Shape {
  int64_t h, w, c;
  bool operator==(const Shape& other) const { return h == other.h && w == other.w && c == other.c; }
};

using resnet::shapeText;
std::string shapeText(const Shape& s) {
  return resnet::shapeText(std::vector<int64_t>{s.h, s.w, s.c});
}
std::string pairText(const Spatial& s) { return resnet::shapeText(std::vector<int64_t>{s.h, s.w}); }

int64_t roundUp16(int64_t n) { return (n + 15) / 16 * 16; }

// All factors are within kMaxDimension plus padding, so two multiply without overflow.
bool fitsElements(int64_t h, int64_t w, int64_t c) {
  return h * w <= kMaxElements && h * w * roundUp16(c) <= kMaxElements;
}

class PlanChecker {
 public:
  explicit PlanChecker(const Plan& plan) : plan_(plan), written_(plan.values.size()) {}

  Status check() {
    RESNET_RETURN_IF_ERROR(checkCounts());
    RESNET_RETURN_IF_ERROR(checkValues());
    RESNET_RETURN_IF_ERROR(indexParameters());
    for (const Step& step : plan_.steps) {
      step_ = &step;
      stepDType_.reset();
      Status status = checkStep();
      if (!status.ok()) return std::move(status).at(step.name);
    }
    return checkLeftovers();
  }

 private:
  static Status fault(const std::string& message) {
    return Status::error(Code::kInvalidArgument, message);
  }
  Status stepFault(const std::string& message) const {
    return fault(std::string(stepKindName(step_->kind)) + " step '" + step_->name +
                 "': " + message);
  }

  // --- the plan as a whole

  // Every index needs a step, so a count beyond the steps is wrong whatever it is (and must not be
  // allocated).
  Status checkCount(const char* field, int count, std::vector<bool>* seen) {
    if (count < 1 || size_t(count) > plan_.steps.size())
      return fault(std::string("plan: field '") + field +
                   "' must be from 1 to the number of steps, got " + std::to_string(count));
    seen->resize(size_t(count));
    return Status::okay();
  }
  Status checkCounts() {
    if (plan_.steps.empty()) return fault("plan: field 'steps' must not be empty");
    RESNET_RETURN_IF_ERROR(checkCount("inputs", plan_.inputs, &inputSeen_));
    return checkCount("outputs", plan_.outputs, &outputSeen_);
  }

  Status checkValues() const {
    for (size_t i = 0; i < plan_.values.size(); ++i) {
      const ValueInfo& value = plan_.values[i];
      const Shape shape{value.h, value.w, value.c};
      for (int64_t extent : {shape.h, shape.w, shape.c})
        if (extent < 1 || extent > kMaxDimension)
          return fault(valueText(int(i)) + ": shape must be within 1 and " +
                       std::to_string(kMaxDimension) + ", got " + shapeText(shape));
      if (!fitsElements(shape.h, shape.w, shape.c))
        return fault(valueText(int(i)) + ": shape " + shapeText(shape) + " has more than " +
                     std::to_string(kMaxElements) + " elements");
    }
    return Status::okay();
  }

  Status indexParameters() {
    parameterRead_.resize(plan_.parameters.size());
    for (size_t i = 0; i < plan_.parameters.size(); ++i)
      if (!parameters_.emplace(plan_.parameters[i].name, i).second)
        return fault("plan: parameter " + json::quote(plan_.parameters[i].name) +
                     " is listed twice");
    return Status::okay();
  }

  Status checkLeftovers() const {
    for (size_t i = 0; i < written_.size(); ++i)
      if (!written_[i]) return fault(valueText(int(i)) + " is written by no step");
    for (size_t i = 0; i < parameterRead_.size(); ++i)
      if (!parameterRead_[i])
        return fault("plan: parameter " + json::quote(plan_.parameters[i].name) +
                     " is read by no step");
    for (size_t i = 0; i < inputSeen_.size(); ++i)
      if (!inputSeen_[i]) return fault("plan: no input step has index " + std::to_string(i));
    for (size_t i = 0; i < outputSeen_.size(); ++i)
      if (!outputSeen_[i]) return fault("plan: no output step has index " + std::to_string(i));
    return Status::okay();
  }

  // --- pieces of a step

  std::string valueText(ValueId id) const {
    return "value " + std::to_string(id) + " (" + json::quote(plan_.values[size_t(id)].name) + ")";
  }
  Shape shapeOf(ValueId id) const {
    const ValueInfo& value = plan_.values[size_t(id)];
    return {value.h, value.w, value.c};
  }

  Status checkId(const char* field, ValueId id) const {
    if (id >= 0 && size_t(id) < plan_.values.size()) return Status::okay();
    return stepFault(std::string("field '") + field + "' must be a value's id from 0 to " +
                     std::to_string(int64_t(plan_.values.size()) - 1) + ", got " +
                     std::to_string(id));
  }
  Status reads(const char* field, ValueId id) {
    RESNET_RETURN_IF_ERROR(checkId(field, id));
    if (!written_[size_t(id)])
      return stepFault(std::string("field '") + field + "' reads " + valueText(id) +
                       ", which no earlier step has written");
    if (step_->kind == StepKind::kOutput) return Status::okay();
    const DType dtype = plan_.values[size_t(id)].dtype;
    if (!isFloat(dtype))
      return stepFault(std::string("field '") + field +
                       "' must be a float32, float16 or bfloat16 value, got " + valueText(id) +
                       " of " + dtypeName(dtype));
    if (stepDType_ && *stepDType_ != dtype)
      return stepFault(std::string("field '") + field + "' must be " + dtypeName(*stepDType_) +
                       " as the step's first input, got " + valueText(id) + " of " +
                       dtypeName(dtype));
    stepDType_ = dtype;
    return Status::okay();
  }
  // A step computes in its inputs' dtype; only what a convolution sums may stay float32.
  bool mayWrite(DType dtype) const {
    if (!isFloat(dtype)) return false;
    if (!stepDType_ || *stepDType_ == dtype) return true;
    return dtype == DType::kFloat32 &&
           (step_->kind == StepKind::kConv || step_->kind == StepKind::kLinear);
  }
  // `only`: the one dtype admitted, for the indices of topK.
  Status writes(const char* field, ValueId id, const Shape& shape,
                std::optional<DType> only = std::nullopt) {
    RESNET_RETURN_IF_ERROR(checkId(field, id));
    if (written_[size_t(id)])
      return stepFault(std::string("field '") + field + "' writes " + valueText(id) +
                       ", which an earlier step has written");
    if (!(shapeOf(id) == shape))
      return stepFault(std::string("field '") + field + "': " + valueText(id) +
                       " must have shape " + shapeText(shape) + ", got " + shapeText(shapeOf(id)));
    const DType dtype = plan_.values[size_t(id)].dtype;
    if (only ? dtype != *only : !mayWrite(dtype))
      return stepFault(std::string("field '") + field + "': " + valueText(id) + " must be " +
                       dtypeName(only ? *only : stepDType_.value_or(DType::kFloat32)) + ", got " +
                       dtypeName(dtype));
    written_[size_t(id)] = true;
    return Status::okay();
  }

  Status inRange(const char* field, int64_t value, int64_t low, int64_t high) const {
    if (value >= low && value <= high) return Status::okay();
    return stepFault(std::string("field '") + field + "' must be from " + std::to_string(low) +
                     " to " + std::to_string(high) + ", got " + std::to_string(value));
  }
  Status pairInRange(const char* field, const Spatial& pair, int64_t low) const {
    if (pair.h >= low && pair.h <= kMaxDimension && pair.w >= low && pair.w <= kMaxDimension)
      return Status::okay();
    return stepFault(std::string("field '") + field + "' must be from " + std::to_string(low) +
                     " to " + std::to_string(kMaxDimension) + ", got " + pairText(pair));
  }

  Status parameter(const char* field, const std::string& name, const std::vector<int64_t>& shape) {
    int64_t elements = 1;
    for (int64_t extent : shape) {
      if (elements > kMaxElements / extent)
        return stepFault(std::string("field '") + field + "': a parameter of shape " +
                         shapeText(shape) + " has more than " + std::to_string(kMaxElements) +
                         " elements");
      elements *= extent;
    }
    const auto found = parameters_.find(name);
    if (found == parameters_.end())
      return stepFault(std::string("field '") + field + "' names " + json::quote(name) +
                       ", which the plan's parameters do not list");
    const std::vector<int64_t>& listed = plan_.parameters[found->second].shape;
    if (listed != shape)
      return stepFault(std::string("field '") + field + "': parameter " + json::quote(name) +
                       " must have shape " + shapeText(shape) + ", got " + shapeText(listed));
    parameterRead_[found->second] = true;
    return Status::okay();
  }
  Status optionalParameter(const char* field, const std::string& name,
                           const std::vector<int64_t>& shape) {
    return name.empty() ? Status::okay() : parameter(field, name, shape);
  }
  Status norm(const NormNames& names, int64_t channels) {
    RESNET_RETURN_IF_ERROR(optionalParameter("norm.weight", names.weight, {channels}));
    RESNET_RETURN_IF_ERROR(optionalParameter("norm.bias", names.bias, {channels}));
    RESNET_RETURN_IF_ERROR(parameter("norm.mean", names.mean, {channels}));
    RESNET_RETURN_IF_ERROR(parameter("norm.var", names.var, {channels}));
    if (!(names.eps >= 0) || !std::isfinite(names.eps))
      return stepFault("field 'norm.eps' must be a number of at least 0, got " +
                       std::to_string(names.eps));
    return Status::okay();
  }

  // The window over `input`: ranges of its fields, and the output's height and width.
  template <typename Window>
  Status window(const Window& step, bool ceilMode, Shape* output) const {
    RESNET_RETURN_IF_ERROR(pairInRange("kernel", step.kernel, 1));
    RESNET_RETURN_IF_ERROR(pairInRange("stride", step.stride, 1));
    RESNET_RETURN_IF_ERROR(pairInRange("padding", step.padding, 0));
    RESNET_RETURN_IF_ERROR(pairInRange("dilation", step.dilation, 1));
    const Shape in = shapeOf(step.input);
    if (!fitsElements(in.h + 2 * int64_t{step.padding.h}, in.w + 2 * int64_t{step.padding.w}, in.c))
      return stepFault("field 'padding': an input of " + shapeText(in) + " padded by " +
                       pairText(step.padding) + " has more than " + std::to_string(kMaxElements) +
                       " elements");
    output->h = windowOutputSize(in.h, step.kernel.h, step.stride.h, step.padding.h,
                                 step.dilation.h, ceilMode);
    output->w = windowOutputSize(in.w, step.kernel.w, step.stride.w, step.padding.w,
                                 step.dilation.w, ceilMode);
    if (output->h < 1 || output->w < 1)
      return stepFault("field 'kernel': a kernel of " + pairText(step.kernel) + " with dilation " +
                       pairText(step.dilation) + " does not fit an input of " + shapeText(in) +
                       " padded by " + pairText(step.padding));
    return Status::okay();
  }
  Status needVector(ValueId id) const {
    const Shape shape = shapeOf(id);
    if (shape.h == 1 && shape.w == 1) return Status::okay();
    return stepFault("field 'input' must be a vector [1,1,C], got " + valueText(id) + " of shape " +
                     shapeText(shape));
  }
  Status takeIndex(int index, std::vector<bool>* seen) const {
    RESNET_RETURN_IF_ERROR(inRange("index", index, 0, int64_t(seen->size()) - 1));
    if ((*seen)[size_t(index)])
      return stepFault("field 'index': " + std::to_string(index) + " is taken by an earlier step");
    (*seen)[size_t(index)] = true;
    return Status::okay();
  }

  // --- one function per kind

  Status checkStep() {
    return std::visit([this](const auto& body) { return checkBody(body); }, step_->body);
  }

  Status checkBody(const ConvStep& s) {
    RESNET_RETURN_IF_ERROR(reads("input", s.input));
    const int64_t c = shapeOf(s.input).c;
    RESNET_RETURN_IF_ERROR(inRange("k", s.k, 1, kMaxDimension));
    RESNET_RETURN_IF_ERROR(inRange("groups", s.groups, 1, kMaxDimension));
    if (c % s.groups != 0 || s.k % s.groups != 0)
      return stepFault("field 'groups' must divide the input's channels, " + std::to_string(c) +
                       ", and k, " + std::to_string(s.k) + ", got " + std::to_string(s.groups));
    Shape output{0, 0, s.k};
    RESNET_RETURN_IF_ERROR(window(s, false, &output));
    RESNET_RETURN_IF_ERROR(
        parameter("weight", s.weight, {s.k, c / s.groups, s.kernel.h, s.kernel.w}));
    RESNET_RETURN_IF_ERROR(optionalParameter("bias", s.bias, {s.k}));
    if (s.norm) RESNET_RETURN_IF_ERROR(norm(*s.norm, s.k));
    if (s.residual != kNoValue) {
      RESNET_RETURN_IF_ERROR(reads("residual", s.residual));
      if (!(shapeOf(s.residual) == output))
        return stepFault("field 'residual' must have the output's shape " + shapeText(output) +
                         ", got " + valueText(s.residual) + " of shape " +
                         shapeText(shapeOf(s.residual)));
    }
    return writes("output", s.output, output);
  }

  Status checkBody(const PoolStep& s) {
    RESNET_RETURN_IF_ERROR(reads("input", s.input));
    Shape output{0, 0, shapeOf(s.input).c};
    RESNET_RETURN_IF_ERROR(window(s, s.ceilMode, &output));
    if (step_->kind == StepKind::kAvgPool && (s.dilation.h != 1 || s.dilation.w != 1))
      return stepFault("field 'dilation' must be [1,1], got " + pairText(s.dilation));
    // PyTorch's rule; it also keeps every window of an average on at least one element.
    const int64_t extentH = int64_t{s.dilation.h} * (s.kernel.h - 1) + 1;
    const int64_t extentW = int64_t{s.dilation.w} * (s.kernel.w - 1) + 1;
    if (2 * int64_t{s.padding.h} > extentH || 2 * int64_t{s.padding.w} > extentW)
      return stepFault("field 'padding' must be at most half of the kernel " + pairText(s.kernel) +
                       ", got " + pairText(s.padding));
    return writes("output", s.output, output);
  }

  Status checkBody(const GlobalAvgPoolStep& s) {
    RESNET_RETURN_IF_ERROR(reads("input", s.input));
    return writes("output", s.output, {1, 1, shapeOf(s.input).c});
  }

  Status checkBody(const LinearStep& s) {
    RESNET_RETURN_IF_ERROR(reads("input", s.input));
    RESNET_RETURN_IF_ERROR(needVector(s.input));
    RESNET_RETURN_IF_ERROR(inRange("k", s.k, 1, kMaxDimension));
    RESNET_RETURN_IF_ERROR(parameter("weight", s.weight, {s.k, shapeOf(s.input).c}));
    RESNET_RETURN_IF_ERROR(optionalParameter("bias", s.bias, {s.k}));
    return writes("output", s.output, {1, 1, s.k});
  }

  Status checkBody(const AffineStep& s) {
    RESNET_RETURN_IF_ERROR(reads("input", s.input));
    RESNET_RETURN_IF_ERROR(norm(s.norm, shapeOf(s.input).c));
    return writes("output", s.output, shapeOf(s.input));
  }

  Status checkBody(const AddStep& s) {
    RESNET_RETURN_IF_ERROR(reads("a", s.a));
    RESNET_RETURN_IF_ERROR(reads("b", s.b));
    if (!(shapeOf(s.a) == shapeOf(s.b)))
      return stepFault("field 'b' must have the shape of 'a', " + shapeText(shapeOf(s.a)) +
                       ", got " + valueText(s.b) + " of shape " + shapeText(shapeOf(s.b)));
    return writes("output", s.output, shapeOf(s.a));
  }

  Status checkBody(const ActivationStep& s) {
    RESNET_RETURN_IF_ERROR(reads("input", s.input));
    return writes("output", s.output, shapeOf(s.input));
  }

  Status checkBody(const SoftmaxStep& s) {
    RESNET_RETURN_IF_ERROR(reads("input", s.input));
    RESNET_RETURN_IF_ERROR(needVector(s.input));
    return writes("output", s.output, shapeOf(s.input));
  }

  Status checkBody(const TopKStep& s) {
    RESNET_RETURN_IF_ERROR(reads("input", s.input));
    RESNET_RETURN_IF_ERROR(needVector(s.input));
    RESNET_RETURN_IF_ERROR(inRange("k", s.k, 1, shapeOf(s.input).c));
    RESNET_RETURN_IF_ERROR(writes("scores", s.scores, {1, 1, s.k}));
    return writes("indices", s.indices, {1, 1, s.k}, DType::kInt32);
  }

  Status checkBody(const InputStep& s) {
    RESNET_RETURN_IF_ERROR(checkId("output", s.output));
    const Shape shape = shapeOf(s.output);
    RESNET_RETURN_IF_ERROR(takeIndex(s.index, &inputSeen_));
    if (s.dtype == DType::kInt32)
      return stepFault(
          "field 'dtype' must be 'float32', 'float16', 'bfloat16' or 'uint8', got 'int32'");
    if (s.dtype != DType::kUint8 && !(s.mean.empty() && s.std.empty()))
      return stepFault(
          std::string("fields 'mean' and 'std' are for uint8 pixels, got them with dtype '") +
          dtypeName(s.dtype) + "'");
    if (s.resize && (s.dtype != DType::kUint8 || s.layout != MemoryLayout::kNhwc))
      return stepFault(
          "field 'resize' is for uint8 pictures of layout 'nhwc', got it with dtype '" +
          std::string(dtypeName(s.dtype)) + "'");
    RESNET_RETURN_IF_ERROR(perChannel("mean", s.mean, shape.c));
    RESNET_RETURN_IF_ERROR(perChannel("std", s.std, shape.c));
    for (float deviation : s.std)
      if (!(deviation > 0))
        return stepFault("field 'std' must be above 0, got " + std::to_string(deviation));
    return writes("output", s.output, shape);
  }
  Status perChannel(const char* field, const std::vector<float>& numbers, int64_t channels) const {
    if (numbers.empty() || int64_t(numbers.size()) == channels) return Status::okay();
    return stepFault(std::string("field '") + field + "' must have one number per channel, " +
                     std::to_string(channels) + ", got " + std::to_string(numbers.size()));
  }

  Status checkBody(const OutputStep& s) {
    RESNET_RETURN_IF_ERROR(reads("input", s.input));
    return takeIndex(s.index, &outputSeen_);
  }

  const Plan& plan_;
  const Step* step_ = nullptr;
  std::optional<DType> stepDType_;  // of the first value that the step reads
  std::vector<bool> written_, inputSeen_, outputSeen_, parameterRead_;
  std::unordered_map<std::string_view, size_t> parameters_;
};

}  // namespace

Status checkPlan(const Plan& plan) { return PlanChecker(plan).check(); }

}  // namespace resnet
