#include "core/plan.h"

#include <iterator>

namespace resnet {

namespace {

constexpr const char* kStepKindNames[] = {"conv",    "maxPool", "avgPool", "globalAvgPool",
                                          "linear",  "affine",  "add",     "activation",
                                          "softmax", "topK",    "input",   "output"};
static_assert(std::size(kStepKindNames) == size_t(StepKind::kOutput) + 1);

int64_t floorDivide(int64_t a, int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

struct Reads {
  std::vector<ValueId> operator()(const ConvStep& s) const {
    if (s.residual == kNoValue) return {s.input};
    return {s.input, s.residual};
  }
  std::vector<ValueId> operator()(const AddStep& s) const { return {s.a, s.b}; }
  std::vector<ValueId> operator()(const InputStep&) const { return {}; }
  template <typename Other>
  std::vector<ValueId> operator()(const Other& s) const {
    return {s.input};
  }
};

struct Writes {
  std::vector<ValueId> operator()(const TopKStep& s) const { return {s.scores, s.indices}; }
  std::vector<ValueId> operator()(const OutputStep&) const { return {}; }
  template <typename Other>
  std::vector<ValueId> operator()(const Other& s) const {
    return {s.output};
  }
};

}  // namespace

const char* stepKindName(StepKind kind) { return kStepKindNames[size_t(kind)]; }

std::optional<StepKind> parseStepKind(std::string_view name) {
  for (size_t i = 0; i < std::size(kStepKindNames); ++i)
    if (name == kStepKindNames[i]) return StepKind(i);
  return std::nullopt;
}

std::vector<ValueId> stepInputs(const Step& step) { return std::visit(Reads{}, step.body); }
std::vector<ValueId> stepOutputs(const Step& step) { return std::visit(Writes{}, step.body); }

int64_t windowOutputSize(int64_t in, int64_t kernel, int64_t stride, int64_t padding,
                         int64_t dilation, bool ceilMode) {
  const int64_t extent = dilation * (kernel - 1) + 1;
  int64_t out = floorDivide(in + 2 * padding - extent + (ceilMode ? stride - 1 : 0), stride) + 1;
  // The last window must start inside the input or its left padding, else it would see nothing.
  if (ceilMode && (out - 1) * stride >= in + padding) --out;
  return out;
}

}  // namespace resnet
