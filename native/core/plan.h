// The plan: flat, validated, fused steps over numbered values. It is what crosses from TypeScript to a
// backend, as JSON text (schema: lib/graph/plan.ts), so that the same bytes cross a plugin's C boundary.
//
// A value's shape is per image, H x W x C (NHWC without N); vectors (pooled features, logits) are
// 1 x 1 x C. Steps are in execution order: a step reads only values that an earlier step wrote.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "core/picture.h"
#include "core/status.h"

namespace resnet {

using ValueId = int;
inline constexpr ValueId kNoValue = -1;

struct ValueInfo {
  std::string name;
  int h = 1, w = 1, c = 1;
  // kInt32 only for the indices of topK. A step's floats have one dtype; what conv and linear write
  // may be float32 instead.
  DType dtype = DType::kFloat32;
};

enum class MemoryLayout { kNchw, kNhwc };
enum class Activation { kNone, kRelu };

// A pair for the two spatial axes.
struct Spatial {
  int h = 1, w = 1;
};

// Parameters by name; empty name = absent. All are looked up in the Weights given to compile.
struct NormNames {
  std::string weight, bias, mean, var;  // weight and bias may be empty (1 and 0)
  double eps = 1e-5;
};

// y = act(conv(x, w) * scale + shift + residual). scale/shift: folded norm and bias. PyTorch's Conv2d:
// cross-correlation, zero padding on both sides, weight [K, C/groups, R, S] in the checkpoint.
struct ConvStep {
  ValueId input = kNoValue, output = kNoValue, residual = kNoValue;
  int k = 0;
  Spatial kernel, stride, padding{0, 0}, dilation;
  int groups = 1;
  std::string weight, bias;
  std::optional<NormNames> norm;
  Activation activation = Activation::kNone;
};
struct PoolStep {  // maxPool (padding is -inf) and avgPool
  ValueId input = kNoValue, output = kNoValue;
  Spatial kernel, stride, padding{0, 0}, dilation;
  bool ceilMode = false;
  bool countIncludePad = true;  // avgPool only
};
struct GlobalAvgPoolStep {
  ValueId input = kNoValue, output = kNoValue;
};
struct LinearStep {  // y = x w^T + b, weight [K, C]; input is 1 x 1 x C
  ValueId input = kNoValue, output = kNoValue;
  int k = 0;
  std::string weight, bias;
};
struct AffineStep {  // a lone batch norm, optional relu
  ValueId input = kNoValue, output = kNoValue;
  NormNames norm;
  Activation activation = Activation::kNone;
};
struct AddStep {
  ValueId a = kNoValue, b = kNoValue, output = kNoValue;
  Activation activation = Activation::kNone;
};
struct ActivationStep {
  ValueId input = kNoValue, output = kNoValue;
  Activation activation = Activation::kRelu;
};
struct SoftmaxStep {  // over C of a 1 x 1 x C value
  ValueId input = kNoValue, output = kNoValue;
};
struct
    TopKStep {  // sorted by falling score, ties by rising index; NaN ranks above every number, as in PyTorch
  ValueId input = kNoValue, scores = kNoValue, indices = kNoValue;
  int k = 1;
};
// From the caller's memory to the backend's. dtype float32, float16, bfloat16 or uint8; uint8 is
// normalised: (x / 255 - mean[c]) / std[c]. `index` is the position in the submission's inputs.
// With `resize` every piece is one decoded picture of any size (uint8, NHWC), which the backend resizes
// and crops to the value's, as Pillow and torchvision do, to the level.
struct InputStep {
  ValueId output = kNoValue;
  int index = 0;
  DType dtype = DType::kFloat32;
  MemoryLayout layout = MemoryLayout::kNchw;
  std::vector<float> mean, std;  // per channel; empty = 0 and 1
  std::optional<Interpolation> resize;
};
// From the backend's memory to the caller's. `index` is the position in the submission's outputs.
struct OutputStep {
  ValueId input = kNoValue;
  int index = 0;
  MemoryLayout layout = MemoryLayout::kNchw;
};

using StepBody =
    std::variant<ConvStep, PoolStep, GlobalAvgPoolStep, LinearStep, AffineStep, AddStep,
                 ActivationStep, SoftmaxStep, TopKStep, InputStep, OutputStep>;
enum class StepKind {
  kConv,
  kMaxPool,
  kAvgPool,
  kGlobalAvgPool,
  kLinear,
  kAffine,
  kAdd,
  kActivation,
  kSoftmax,
  kTopK,
  kInput,
  kOutput
};

struct Step {
  StepKind kind;
  std::string name;  // "layer1.0.conv1": for people, errors and explain
  StepBody body;
};

// A parameter that the plan needs, with the shape it must have in the weights.
struct ParameterInfo {
  std::string name;
  std::vector<int64_t> shape;
};

struct Plan {
  std::vector<ValueInfo> values;
  std::vector<Step> steps;
  std::vector<ParameterInfo> parameters;
  int inputs = 0, outputs = 0;
};

const char* stepKindName(StepKind kind);  // "conv", "maxPool", ...
std::optional<StepKind> parseStepKind(std::string_view name);

// The values that a step reads and writes, in the order of its fields.
std::vector<ValueId> stepInputs(const Step& step);
std::vector<ValueId> stepOutputs(const Step& step);

// Bounds of a valid plan, small enough that backends may count in int: any of h, w, c, k, kernel, stride,
// padding and dilation, and the elements of one image of a value or of one parameter, padding and
// channels rounded up to 16 included.
inline constexpr int64_t kMaxDimension = int64_t{1} << 20;
inline constexpr int64_t kMaxElements = (int64_t{1} << 31) - 1;

// Parses and validates: every id in range, written once and before it is read, shapes that follow from
// the step (conv and pool output sizes, channel and group divisibility, residual of the output's shape),
// no overflow in any size. The only validation there is: backends assert. kInvalidArgument, at() the step.
Result<Plan> parsePlan(std::string_view json);

// The text that parsePlan reads, of a valid plan: parsing it gives the same plan.
std::string writePlan(const Plan& plan);

// The second half of parsePlan, for plans built in C++.
Status checkPlan(const Plan& plan);

// Output size of a window op along one axis, PyTorch's formula (ceilMode included). <= 0: not admitted.
int64_t windowOutputSize(int64_t in, int64_t kernel, int64_t stride, int64_t padding,
                         int64_t dilation, bool ceilMode);

}  // namespace resnet
