// The plan's JSON text to a Plan: field names and types only. What the numbers mean is checked by
// checkPlan.
#include <cmath>
#include <limits>

#include "core/json.h"
#include "core/plan.h"

namespace resnet {

namespace {

using json::Value;

// The members of one JSON object. Reading is sticky: after the first failure every reader returns a
// default, so that a step reads as its list of fields; finish() refuses the fields that nobody
// read.
class Fields {
 public:
  Fields(const Value& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is(Value::Kind::kObject)) {
      fail("expected an object, got " + json::describe(object));
      return;
    }
    read_.resize(object.object.size());
  }

  const std::string& where() const { return where_; }
  void rename(std::string where) { where_ = std::move(where); }
  bool ok() const { return status_.ok(); }

  void fail(const std::string& message) {
    if (status_.ok()) status_ = Status::error(Code::kInvalidArgument, where_ + ": " + message);
  }
  void adopt(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }

  // Null when absent.
  const Value* find(std::string_view key) {
    for (size_t i = 0; i < object_.object.size(); ++i) {
      if (object_.object[i].first != key) continue;
      read_[i] = true;
      return &object_.object[i].second;
    }
    return nullptr;
  }
  bool has(std::string_view key) { return find(key) != nullptr; }

  const Value* need(std::string_view key, const char* expected) {
    if (!ok()) return nullptr;
    const Value* value = find(key);
    if (value == nullptr) fail("field '" + std::string(key) + "' is missing, expected " + expected);
    return value;
  }
  void mismatch(std::string_view key, const std::string& expected, const Value& value) {
    fail("field '" + std::string(key) + "' must be " + expected + ", got " + json::describe(value));
  }

  int integer(std::string_view key) {
    const Value* value = need(key, "an integer");
    int result = 0;
    if (value != nullptr && !toInt(*value, &result)) mismatch(key, "a 32-bit integer", *value);
    return result;
  }
  std::vector<int> integers(std::string_view key, size_t count, const char* expected) {
    const Value* value = need(key, expected);
    std::vector<int> result(count);
    if (value == nullptr) return result;
    bool good = value->is(Value::Kind::kArray) && value->array.size() == count;
    for (size_t i = 0; good && i < count; ++i) good = toInt(value->array[i], &result[i]);
    if (!good) mismatch(key, expected, *value);
    return result;
  }
  Spatial pair(std::string_view key) {
    const std::vector<int> axes = integers(key, 2, "a pair of integers [height, width]");
    return {axes[0], axes[1]};
  }
  double number(std::string_view key) {
    const Value* value = need(key, "a number");
    if (value == nullptr) return 0;
    if (!value->is(Value::Kind::kNumber)) mismatch(key, "a number", *value);
    return value->number;
  }
  bool boolean(std::string_view key) {
    const Value* value = need(key, "a boolean");
    if (value == nullptr) return false;
    if (!value->is(Value::Kind::kBool)) mismatch(key, "a boolean", *value);
    return value->boolean;
  }
  std::string text(std::string_view key) {
    const Value* value = need(key, "a string");
    if (value == nullptr) return {};
    if (!value->is(Value::Kind::kString)) mismatch(key, "a string", *value);
    return value->string;
  }
  // A parameter's name: not empty, since empty means absent in the structs.
  std::string parameter(std::string_view key) {
    std::string name = text(key);
    if (ok() && name.empty())
      fail("field '" + std::string(key) + "' must name a parameter, got \"\"");
    return name;
  }
  std::string optionalParameter(std::string_view key) {
    return has(key) ? parameter(key) : std::string();
  }

  // One word of a list.
  template <typename Enum>
  Enum word(std::string_view key, const std::vector<std::pair<const char*, Enum>>& words) {
    std::string expected;
    for (const auto& [name, _] : words)
      expected += (expected.empty() ? "'" : " or '") + std::string(name) + "'";
    const Value* value = need(key, expected.c_str());
    if (value == nullptr) return words.front().second;
    if (value->is(Value::Kind::kString))
      for (const auto& [name, meaning] : words)
        if (value->string == name) return meaning;
    mismatch(key, expected, *value);
    return words.front().second;
  }
  const std::vector<Value>& list(std::string_view key) {
    static const std::vector<Value> kEmpty;
    const Value* value = need(key, "an array");
    if (value == nullptr) return kEmpty;
    if (!value->is(Value::Kind::kArray)) mismatch(key, "an array", *value);
    return value->array;
  }
  std::vector<float> optionalFloats(std::string_view key) {
    std::vector<float> result;
    if (!ok() || !has(key)) return result;
    for (const Value& value : list(key)) {
      if (!value.is(Value::Kind::kNumber) ||
          std::abs(value.number) > std::numeric_limits<float>::max()) {
        mismatch(key, "an array of float32 numbers", *find(key));
        break;
      }
      result.push_back(float(value.number));
    }
    return result;
  }

  Status finish() {
    for (size_t i = 0; ok() && i < read_.size(); ++i)
      if (!read_[i]) fail("unknown field " + json::quote(object_.object[i].first));
    return status_;
  }

 private:
  static bool toInt(const Value& value, int* result) {
    if (!value.isInteger || value.integer < INT32_MIN || value.integer > INT32_MAX) return false;
    *result = int(value.integer);
    return true;
  }

  const Value& object_;
  std::string where_;
  std::vector<bool> read_;
  Status status_;
};

Activation readActivation(Fields& f) {
  return f.word<Activation>("activation",
                            {{"none", Activation::kNone}, {"relu", Activation::kRelu}});
}
MemoryLayout readLayout(Fields& f) {
  return f.word<MemoryLayout>("layout",
                              {{"nchw", MemoryLayout::kNchw}, {"nhwc", MemoryLayout::kNhwc}});
}

NormNames readNorm(Fields& f) {
  NormNames norm;
  const Value* value = f.need("norm", "an object");
  if (value == nullptr) return norm;
  Fields fields(*value, f.where() + ", field 'norm'");
  norm.weight = fields.optionalParameter("weight");
  norm.bias = fields.optionalParameter("bias");
  norm.mean = fields.parameter("mean");
  norm.var = fields.parameter("var");
  norm.eps = fields.number("eps");
  f.adopt(fields.finish());
  return norm;
}

template <typename Body>
Body readUnary(Fields& f) {
  Body step;
  step.input = f.integer("input");
  step.output = f.integer("output");
  return step;
}

ConvStep readConv(Fields& f) {
  auto step = readUnary<ConvStep>(f);
  if (f.has("residual")) {
    step.residual = f.integer("residual");
    if (step.residual == kNoValue) f.mismatch("residual", "a value", *f.find("residual"));
  }
  step.k = f.integer("k");
  step.kernel = f.pair("kernel");
  step.stride = f.pair("stride");
  step.padding = f.pair("padding");
  step.dilation = f.pair("dilation");
  step.groups = f.integer("groups");
  step.weight = f.parameter("weight");
  step.bias = f.optionalParameter("bias");
  if (f.has("norm")) step.norm = readNorm(f);
  step.activation = readActivation(f);
  return step;
}

PoolStep readPool(Fields& f, StepKind kind) {
  auto step = readUnary<PoolStep>(f);
  step.kernel = f.pair("kernel");
  step.stride = f.pair("stride");
  step.padding = f.pair("padding");
  step.dilation = f.pair("dilation");
  step.ceilMode = f.boolean("ceilMode");
  if (kind == StepKind::kAvgPool && f.has("countIncludePad"))
    step.countIncludePad = f.boolean("countIncludePad");
  return step;
}

LinearStep readLinear(Fields& f) {
  auto step = readUnary<LinearStep>(f);
  step.k = f.integer("k");
  step.weight = f.parameter("weight");
  step.bias = f.optionalParameter("bias");
  return step;
}

AffineStep readAffine(Fields& f) {
  auto step = readUnary<AffineStep>(f);
  step.norm = readNorm(f);
  step.activation = readActivation(f);
  return step;
}

AddStep readAdd(Fields& f) {
  AddStep step;
  step.a = f.integer("a");
  step.b = f.integer("b");
  step.output = f.integer("output");
  step.activation = readActivation(f);
  return step;
}

ActivationStep readActivationStep(Fields& f) {
  auto step = readUnary<ActivationStep>(f);
  step.activation = f.word<Activation>("activation", {{"relu", Activation::kRelu}});
  return step;
}

TopKStep readTopK(Fields& f) {
  TopKStep step;
  step.input = f.integer("input");
  step.scores = f.integer("scores");
  step.indices = f.integer("indices");
  step.k = f.integer("k");
  return step;
}

InputStep readInput(Fields& f) {
  InputStep step;
  step.output = f.integer("output");
  step.index = f.integer("index");
  step.dtype = f.word<DType>("dtype", {{"float32", DType::kFloat32},
                                       {"float16", DType::kFloat16},
                                       {"bfloat16", DType::kBFloat16},
                                       {"uint8", DType::kUint8}});
  step.layout = readLayout(f);
  step.mean = f.optionalFloats("mean");
  step.std = f.optionalFloats("std");
  if (f.has("resize")) {
    step.resize = f.word<Interpolation>(
        "resize", {{"bilinear", Interpolation::kBilinear}, {"bicubic", Interpolation::kBicubic}});
  }
  return step;
}

OutputStep readOutput(Fields& f) {
  OutputStep step;
  step.input = f.integer("input");
  step.index = f.integer("index");
  step.layout = readLayout(f);
  return step;
}

StepBody readBody(Fields& f, StepKind kind) {
  switch (kind) {
    case StepKind::kConv:
      return readConv(f);
    case StepKind::kMaxPool:
    case StepKind::kAvgPool:
      return readPool(f, kind);
    case StepKind::kGlobalAvgPool:
      return readUnary<GlobalAvgPoolStep>(f);
    case StepKind::kLinear:
      return readLinear(f);
    case StepKind::kAffine:
      return readAffine(f);
    case StepKind::kAdd:
      return readAdd(f);
    case StepKind::kActivation:
      return readActivationStep(f);
    case StepKind::kSoftmax:
      return readUnary<SoftmaxStep>(f);
    case StepKind::kTopK:
      return readTopK(f);
    case StepKind::kInput:
      return readInput(f);
    case StepKind::kOutput:
      return readOutput(f);
  }
  return StepBody{};
}

Result<Step> readStep(const Value& value, size_t index) {
  Fields f(value, "step " + std::to_string(index));
  Step step{StepKind::kConv, f.text("name"), {}};
  const std::string word = f.text("kind");
  if (f.ok()) {
    if (step.name.empty()) f.fail("field 'name' must not be empty");
    f.rename(word + " step '" + step.name + "'");
    if (const auto kind = parseStepKind(word)) {
      step.kind = *kind;
      step.body = readBody(f, *kind);
    } else {
      f.rename("step '" + step.name + "'");
      f.fail("field 'kind' must be a step kind such as 'conv', got " + json::quote(word));
    }
  }
  Status status = f.finish();
  if (!status.ok()) return std::move(status).at(step.name);
  return step;
}

Result<ValueInfo> readValue(const Value& value, size_t index) {
  Fields f(value, "value " + std::to_string(index));
  ValueInfo info;
  info.name = f.text("name");
  const std::vector<int> shape = f.integers("shape", 3, "three integers [H, W, C]");
  info.h = shape[0];
  info.w = shape[1];
  info.c = shape[2];
  info.dtype = f.word<DType>("dtype", {{"float32", DType::kFloat32},
                                       {"float16", DType::kFloat16},
                                       {"bfloat16", DType::kBFloat16},
                                       {"int32", DType::kInt32}});
  RESNET_RETURN_IF_ERROR(f.finish());
  return info;
}

Result<ParameterInfo> readParameter(const Value& value, size_t index) {
  Fields f(value, "parameter " + std::to_string(index));
  ParameterInfo info;
  info.name = f.parameter("name");
  for (const Value& extent : f.list("shape")) {
    if (!extent.isInteger) {
      f.mismatch("shape", "an array of integers", *f.find("shape"));
      break;
    }
    info.shape.push_back(extent.integer);
  }
  RESNET_RETURN_IF_ERROR(f.finish());
  return info;
}

template <typename T>
Status readList(const std::vector<Value>& list, Result<T> (*read)(const Value&, size_t),
                std::vector<T>* out) {
  out->reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    Result<T> item = read(list[i], i);
    if (!item.ok()) return item.takeStatus();
    out->push_back(item.take());
  }
  return Status::okay();
}

}  // namespace

Result<Plan> parsePlan(std::string_view json) {
  Result<Value> document = json::parse(json);
  if (!document.ok()) {
    return Status::error(Code::kInvalidArgument,
                         "the plan is not valid: " + document.status().message);
  }
  Fields f(document.value(), "plan");
  const int version = f.integer("version");
  if (f.ok() && version != 1) f.fail("field 'version' must be 1, got " + std::to_string(version));
  const auto& values = f.list("values");
  const auto& steps = f.list("steps");
  const auto& parameters = f.list("parameters");
  Plan plan;
  plan.inputs = f.integer("inputs");
  plan.outputs = f.integer("outputs");
  RESNET_RETURN_IF_ERROR(f.finish());
  RESNET_RETURN_IF_ERROR(readList(values, readValue, &plan.values));
  RESNET_RETURN_IF_ERROR(readList(steps, readStep, &plan.steps));
  RESNET_RETURN_IF_ERROR(readList(parameters, readParameter, &plan.parameters));
  RESNET_RETURN_IF_ERROR(checkPlan(plan));
  return plan;
}

}  // namespace resnet
