// The plan's door: a plan with every step kind is accepted; each row of the table breaks one thing in it
// and names the message and the step that must come back.
#include "core/plan.h"

#include <chrono>

#include "check.h"
#include "core/roofline.h"
#include "plan_text.h"

namespace {

using namespace resnet;
using test::kPlan;

// The plan with one text replaced; the text must occur exactly once.
std::string edited(const std::string& from, const std::string& to) {
  std::string text = kPlan;
  const size_t at = text.find(from);
  if (at == std::string::npos || text.find(from, at + 1) != std::string::npos) {
    test::fault(__FILE__, __LINE__, "the plan must have this text exactly once: " + from);
    return text;
  }
  return text.replace(at, from.size(), to);
}

TEST("plan: every step kind is read as written") {
  auto result = parsePlan(kPlan);
  if (!result.ok()) {
    CHECK_EQ(result.status().message, "");
    return;
  }
  const Plan& plan = result.value();
  CHECK_EQ(plan.values.size(), 13u);
  CHECK_EQ(plan.steps.size(), 14u);
  CHECK_EQ(plan.parameters.size(), 11u);
  CHECK(plan.inputs == 1 && plan.outputs == 2);
  CHECK(plan.values[0].name == "pixels" && plan.values[0].h == 9 && plan.values[0].w == 7 &&
        plan.values[0].c == 3);
  CHECK(plan.values[12].dtype == DType::kInt32);
  const auto& input = std::get<InputStep>(plan.steps[0].body);
  CHECK(input.dtype == DType::kUint8 && input.layout == MemoryLayout::kNhwc);
  CHECK(input.mean == (std::vector<float>{0.485f, 0.456f, 0.406f}) && input.std[2] == 0.225f);
  const auto& conv = std::get<ConvStep>(plan.steps[3].body);
  CHECK(conv.kernel.h == 3 && conv.kernel.w == 1 && conv.padding.h == 2 && conv.dilation.h == 2);
  CHECK(conv.groups == 4 && conv.residual == 2 && conv.bias == "conv2.bias" && !conv.norm);
  CHECK(conv.activation == Activation::kNone);
  const auto& fused = std::get<ConvStep>(plan.steps[1].body);
  CHECK(fused.norm && fused.norm->var == "bn1.var" && fused.norm->eps == 1e-5 &&
        fused.residual == kNoValue);
  CHECK(std::get<AffineStep>(plan.steps[4].body).norm.weight.empty());
  const auto& pool = std::get<PoolStep>(plan.steps[7].body);
  CHECK(pool.ceilMode && !pool.countIncludePad);
  const StepKind kinds[] = {StepKind::kInput,      StepKind::kConv,    StepKind::kMaxPool,
                            StepKind::kConv,       StepKind::kAffine,  StepKind::kAdd,
                            StepKind::kActivation, StepKind::kAvgPool, StepKind::kGlobalAvgPool,
                            StepKind::kLinear,     StepKind::kSoftmax, StepKind::kTopK,
                            StepKind::kOutput,     StepKind::kOutput};
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    CHECK(plan.steps[i].kind == kinds[i]);
    CHECK(parseStepKind(stepKindName(kinds[i])) == kinds[i]);
  }
  CHECK(!parseStepKind("Conv") && !parseStepKind(""));
  CHECK(stepInputs(plan.steps[3]) == (std::vector<ValueId>{2, 2}));
  CHECK(stepInputs(plan.steps[0]).empty() && stepOutputs(plan.steps[12]).empty());
  CHECK(stepOutputs(plan.steps[11]) == (std::vector<ValueId>{11, 12}));
}

TEST("plan: float16 values, and what a linear step sums in float32") {
  std::string text = kPlan;
  for (const char* name :
       {"pixels", "stem", "maxed", "grouped", "normed", "summed", "active", "averaged", "pooled"}) {
    const size_t at = text.find("float32", text.find(std::string("\"name\":\"") + name + "\""));
    text.replace(at, 7, "float16");
  }
  const auto plan = parsePlan(text);
  CHECK_EQ(plan.ok() ? std::string() : plan.status().message, std::string());
  if (plan.ok()) CHECK(plan.value().values[8].dtype == DType::kFloat16);
}

TEST("plan: an input that resizes keeps how through its text") {
  std::string text = kPlan;
  text.insert(text.find("\"mean\":"), "\"resize\":\"bicubic\",");
  const auto plan = parsePlan(text);
  CHECK_EQ(plan.ok() ? std::string() : plan.status().message, std::string());
  if (!plan.ok()) return;
  const auto again = parsePlan(writePlan(plan.value()));
  CHECK(again.ok());
  for (const Plan* each : {&plan.value(), &again.value()})
    CHECK(std::get<InputStep>(each->steps[0].body).resize == Interpolation::kBicubic);
}

struct Fault {
  const char *from, *to;
  const char* message;
  const char* step = "";
};

const Fault kFaults[] = {
    // the document
    {"\"version\":1", "\"version\":2", "field 'version' must be 1, got 2"},
    {"\"version\":1,", "", "field 'version' is missing"},
    {"\"inputs\":1", "\"inputs\":1.0", "field 'inputs' must be a 32-bit integer, got 1"},
    {"\"inputs\":1", "\"inputs\":0", "field 'inputs' must be from 1 to the number of steps, got 0"},
    {"\"inputs\":1", "\"inputs\":2", "no input step has index 1"},
    {"\"outputs\":2", "\"outputs\":3", "no output step has index 2"},
    {"\"outputs\":2", "\"outputs\":1000000000", "got 1000000000"},
    {"\"outputs\":2", "\"outputs\":1", "must be from 0 to 0, got 1", "out.classes"},
    {"\"outputs\":2", "\"outputs\":2,\"lanes\":1", "plan: unknown field \"lanes\""},
    {"\"outputs\":2", "\"outputs\":2,\"inputs\":1", "duplicate key \"inputs\""},
    {"\"outputs\":2}", "\"outputs\":2", "the plan is not valid: JSON at byte"},
    // values
    {"\"shape\":[9,7,3]", "\"shape\":[9,7]", "value 0: field 'shape' must be three integers"},
    {"\"shape\":[9,7,3]", "\"shape\":[9,0,3]", "shape must be within 1 and 1048576, got [9,0,3]"},
    {"\"shape\":[9,7,3]", "\"shape\":[9,-7,3]", "got [9,-7,3]"},
    {"\"shape\":[9,7,3]", "\"shape\":[9,1048577,3]", "within 1 and 1048576"},
    {"\"shape\":[9,7,3]", "\"shape\":[1048576,1048576,1048576]",
     "has more than 2147483647 elements"},
    {"\"shape\":[9,7,3]", "\"shape\":[9,4294967305,3]", "three integers"},
    {"\"shape\":[9,7,3]", "\"shape\":[65536,8192,1]", "has more than 2147483647 elements"},
    {"{\"name\":\"pixels\"", "{\"id\":0,\"name\":\"pixels\"", "value 0: unknown field \"id\""},
    {"\"shape\":[9,7,3],\"dtype\":\"float32\"", "\"shape\":[9,7,3],\"dtype\":\"float64\"",
     "field 'dtype' must be 'float32' or 'float16' or 'bfloat16' or 'int32', got \"float64\""},
    {"\"name\":\"stem\",\"shape\":[5,4,8],\"dtype\":\"float32\"",
     "\"name\":\"stem\",\"shape\":[5,4,8],\"dtype\":\"float16\"",
     "value 1 (\"stem\") must be float32, got float16", "conv1"},
    {"\"shape\":[9,7,3],\"dtype\":\"float32\"", "\"shape\":[9,7,3],\"dtype\":\"int32\"",
     "value 0 (\"pixels\") must be float32, got int32", "input"},
    {"\"dtype\":\"int32\"}]",
     "\"dtype\":\"int32\"},{\"name\":\"idle\",\"shape\":[1,1,1],\"dtype\":\"float32\"}]",
     "value 13 (\"idle\") is written by no step"},
    // steps in general
    {"\"kind\":\"softmax\"", "\"kind\":\"softMax\"",
     "field 'kind' must be a step kind such as 'conv', got \"softMax\"", "softmax"},
    {"\"name\":\"softmax\"", "\"name\":\"\"", "field 'name' must not be empty"},
    {"\"name\":\"softmax\"", "\"name\":7", "step 10: field 'name' must be a string, got 7"},
    {"\"name\":\"softmax\",\"input\":9", "\"name\":\"softmax\",\"input\":13",
     "softmax step 'softmax': field 'input' must be a value's id from 0 to 12, got 13", "softmax"},
    {"\"name\":\"softmax\",\"input\":9", "\"name\":\"softmax\",\"input\":-1", "got -1", "softmax"},
    {"\"name\":\"softmax\",\"input\":9", "\"name\":\"softmax\",\"input\":10",
     "reads value 10 (\"probabilities\"), which no earlier step has written", "softmax"},
    {"\"name\":\"softmax\",\"input\":9", "\"name\":\"softmax\",\"axis\":1,\"input\":9",
     "unknown field \"axis\"", "softmax"},
    {"\"input\":9,\"output\":10", "\"input\":9,\"output\":9",
     "field 'output' writes value 9 (\"logits\"), which an earlier step has written", "softmax"},
    {"\"input\":9,\"output\":10", "\"output\":10", "field 'input' is missing", "softmax"},
    {"\"name\":\"softmax\",\"input\":9", "\"name\":\"softmax\",\"input\":7",
     "must be a vector [1,1,C]", "softmax"},
    // conv
    {"\"k\":8,\"kernel\":[3,3]", "\"k\":9,\"kernel\":[3,3]",
     "parameter \"conv1.weight\" must have shape [9,3,3,3], got [8,3,3,3]", "conv1"},
    {"\"k\":8,\"kernel\":[3,3]", "\"k\":0,\"kernel\":[3,3]", "field 'k' must be from 1", "conv1"},
    {"\"k\":8,\"kernel\":[3,3]", "\"k\":8,\"kernel\":[3,0]",
     "field 'kernel' must be from 1 to 1048576, got [3,0]", "conv1"},
    {"\"k\":8,\"kernel\":[3,3]", "\"k\":8,\"kernel\":[3]", "field 'kernel' must be a pair",
     "conv1"},
    {"\"k\":8,\"kernel\":[3,3]", "\"k\":8,\"kernel\":[12,3]", "does not fit an input of [9,7,3]",
     "conv1"},
    {"\"k\":8,\"kernel\":[3,3],\"stride\":[2,2]", "\"k\":8,\"kernel\":[3,3],\"stride\":[2,1]",
     "value 1 (\"stem\") must have shape [5,7,8], got [5,4,8]", "conv1"},
    {"\"k\":8,\"kernel\":[3,3],\"stride\":[2,2]", "\"k\":8,\"kernel\":[3,3],\"stride\":[2,0]",
     "field 'stride' must be from 1 to 1048576, got [2,0]", "conv1"},
    {"\"k\":8,\"kernel\":[3,3],\"stride\":[2,2],\"padding\":[1,1]",
     "\"k\":8,\"kernel\":[3,3],\"stride\":[2,2],\"padding\":[1,-1]",
     "field 'padding' must be from 0 to 1048576, got [1,-1]", "conv1"},
    {"\"k\":8,\"kernel\":[3,3],\"stride\":[2,2],\"padding\":[1,1]",
     "\"k\":8,\"kernel\":[3,3],\"stride\":[1048576,1048576],\"padding\":[1048576,1048576]",
     "has more than 2147483647 elements", "conv1"},
    {"\"dilation\":[2,1]", "\"dilation\":[0,1]", "field 'dilation' must be from 1", "layer1.conv2"},
    {"\"dilation\":[2,1]", "\"dilation\":[1,1]",
     "must have the output's shape [5,2,8], got value 2 (\"maxed\") of shape [3,2,8]",
     "layer1.conv2"},
    {"\"groups\":4", "\"groups\":3",
     "field 'groups' must divide the input's channels, 8, and k, 8, got 3", "layer1.conv2"},
    {"\"groups\":4", "\"groups\":2", "must have shape [8,4,3,1], got [8,2,3,1]", "layer1.conv2"},
    {"\"groups\":4", "\"groups\":0", "field 'groups' must be from 1", "layer1.conv2"},
    {"\"residual\":2", "\"residual\":1",
     "field 'residual' must have the output's shape [3,2,8], got value 1 (\"stem\")",
     "layer1.conv2"},
    {"\"residual\":2", "\"residual\":3", "which no earlier step has written", "layer1.conv2"},
    {"\"residual\":2", "\"residual\":-1", "field 'residual' must be a value, got -1",
     "layer1.conv2"},
    {"\"residual\":2", "\"residual\":null", "field 'residual' must be a 32-bit integer, got null",
     "layer1.conv2"},
    {"\"bias\":\"conv2.bias\"", "\"bias\":\"\"", "field 'bias' must name a parameter, got \"\"",
     "layer1.conv2"},
    {"\"bias\":\"conv2.bias\"", "\"bias\":\"conv3.bias\"",
     "names \"conv3.bias\", which the plan's parameters do not list", "layer1.conv2"},
    {",\"bias\":\"conv2.bias\"", "", "parameter \"conv2.bias\" is read by no step"},
    {"\"bias\":\"conv2.bias\",\"activation\":\"none\"",
     "\"bias\":\"conv2.bias\",\"activation\":\"gelu\"",
     "field 'activation' must be 'none' or 'relu', got \"gelu\"", "layer1.conv2"},
    {"\"eps\":0.00001", "\"eps\":-0.00001", "field 'norm.eps' must be a number of at least 0",
     "conv1"},
    {"\"eps\":0.00001", "\"eps\":\"1e-5\"",
     "field 'norm': field 'eps' must be a number, got \"1e-5\"", "conv1"},
    {"\"eps\":0.00001", "\"momentum\":0.1,\"eps\":0.00001",
     "field 'norm': unknown field \"momentum\"", "conv1"},
    {"\"mean\":\"bn1.mean\",", "", "field 'norm': field 'mean' is missing", "conv1"},
    // the others
    {"\"ceilMode\":false", "\"ceilMode\":0", "field 'ceilMode' must be a boolean, got 0",
     "maxpool"},
    {"\"ceilMode\":false", "\"ceilMode\":false,\"countIncludePad\":true",
     "unknown field \"countIncludePad\"", "maxpool"},
    {"\"padding\":[1,1],\"dilation\":[1,1],\"ceilMode\"",
     "\"padding\":[2,2],\"dilation\":[1,1],\"ceilMode\"",
     "field 'padding' must be at most half of the kernel [3,3], got [2,2]", "maxpool"},
    {"\"padding\":[0,0],\"dilation\":[1,1],\"ceilMode\":true",
     "\"padding\":[0,0],\"dilation\":[1,2],\"ceilMode\":true",
     "field 'dilation' must be [1,1], got [1,2]", "pool"},
    {"\"ceilMode\":true", "\"ceilMode\":false", "must have shape [1,1,8], got [2,1,8]", "pool"},
    {"\"a\":3,\"b\":4", "\"a\":3,\"b\":1",
     "field 'b' must have the shape of 'a', [3,2,8], got value 1", "layer1.add"},
    {"\"input\":5,\"output\":6,\"activation\":\"relu\"",
     "\"input\":5,\"output\":6,\"activation\":\"none\"",
     "field 'activation' must be 'relu', got \"none\"", "layer1.relu"},
    {"\"input\":8,\"output\":9,\"k\":5", "\"input\":7,\"output\":9,\"k\":5", "must be a vector",
     "fc"},
    {"\"input\":8,\"output\":9,\"k\":5", "\"input\":8,\"output\":9,\"k\":6",
     "must have shape [6,8], got [5,8]", "fc"},
    {"\"indices\":12,\"k\":2", "\"indices\":12,\"k\":6", "field 'k' must be from 1 to 5, got 6",
     "topk"},
    {"\"scores\":11,\"indices\":12", "\"scores\":12,\"indices\":11", "must be float32, got int32",
     "topk"},
    {"\"scores\":11,\"indices\":12", "\"scores\":11,\"indices\":11",
     "which an earlier step has written", "topk"},
    // the borders
    {"\"dtype\":\"uint8\"", "\"dtype\":\"float32\"", "'mean' and 'std' are for uint8", "input"},
    {"\"dtype\":\"uint8\"", "\"dtype\":\"bfloat16\"", "'mean' and 'std' are for uint8", "input"},
    {"\"nhwc\",\"mean\":", "\"nchw\",\"resize\":\"bilinear\",\"mean\":",
     "field 'resize' is for uint8 pictures of layout 'nhwc'", "input"},
    {"\"mean\":[0.485", "\"resize\":\"nearest\",\"mean\":[0.485",
     "field 'resize' must be 'bilinear' or 'bicubic', got \"nearest\"", "input"},
    {"\"dtype\":\"uint8\"", "\"dtype\":\"int32\"",
     "must be 'float32' or 'float16' or 'bfloat16' or 'uint8', got \"int32\"", "input"},
    {"[0.485,0.456,0.406]", "[0.485,0.456]",
     "field 'mean' must have one number per channel, 3, got 2", "input"},
    {"[0.485,0.456,0.406]", "[0.485,0.456,1e300]", "an array of float32 numbers", "input"},
    {"[0.485,0.456,0.406]", "0.5", "field 'mean' must be an array, got 0.5", "input"},
    {"[0.229,0.224,0.225]", "[0.229,0,0.225]", "field 'std' must be above 0, got 0", "input"},
    {"\"layout\":\"nhwc\",\"mean\"", "\"layout\":\"hwc\",\"mean\"",
     "field 'layout' must be 'nchw' or 'nhwc', got \"hwc\"", "input"},
    {"\"output\":0,\"index\":0", "\"output\":0,\"index\":1",
     "field 'index' must be from 0 to 0, got 1", "input"},
    {"\"input\":12,\"index\":1", "\"input\":12,\"index\":0",
     "field 'index': 0 is taken by an earlier step", "out.classes"},
    // parameters
    {"{\"name\":\"fc.bias\",\"shape\":[5]}", "{\"name\":\"fc.weight\",\"shape\":[5]}",
     "parameter \"fc.weight\" is listed twice"},
    {"{\"name\":\"fc.bias\",\"shape\":[5]}", "{\"name\":\"fc.bias\",\"shape\":[5.5]}",
     "field 'shape' must be an array of integers, got [5.5]"},
    {"{\"name\":\"fc.bias\",\"shape\":[5]}", "{\"name\":\"fc.bias\",\"shape\":[5,1]}",
     "must have shape [5], got [5,1]", "fc"},
    {"{\"name\":\"fc.bias\",\"shape\":[5]}",
     "{\"name\":\"fc.bias\",\"shape\":[5]},{\"name\":\"x\",\"shape\":[]}",
     "parameter \"x\" is read by no step"},
};

TEST("plan: each fault is refused with its step, field and value") {
  for (const Fault& row : kFaults) {
    auto result = parsePlan(edited(row.from, row.to));
    if (result.ok()) {
      test::fault(__FILE__, __LINE__, std::string("accepted: ") + row.to);
      continue;
    }
    CHECK(result.status().code == Code::kInvalidArgument);
    CHECK_HAS(result.status().message, row.message);
    CHECK_EQ(result.status().step, row.step);
  }
}

TEST("plan: texts that are no plan") {
  for (const char* text :
       {"", "[]", "null", "{}", "{\"version\":1}", "\"plan\"",
        R"({"version":1,"values":[],"steps":[],"parameters":[],"inputs":1,"outputs":1})",
        R"({"version":1,"values":{},"steps":[],"parameters":[],"inputs":1,"outputs":1})",
        R"({"version":1,"values":[],"steps":[1],"parameters":[],"inputs":1,"outputs":1})"})
    CHECK(!parsePlan(text).ok());
}

// Outputs of torch.nn.functional.max_pool2d on a line of `in` elements.
TEST("plan: window output sizes are PyTorch's") {
  struct Row {
    int64_t in, kernel, stride, padding, dilation;
    bool ceilMode;
    int64_t out;
  };
  for (const Row& r :
       {Row{224, 7, 2, 3, 1, false, 112}, Row{112, 3, 2, 1, 1, false, 56},
        Row{112, 3, 2, 0, 1, true, 56}, Row{112, 3, 2, 0, 1, false, 55},
        Row{56, 1, 2, 0, 1, false, 28}, Row{7, 3, 1, 2, 2, false, 7}, Row{3, 2, 2, 0, 1, true, 2},
        Row{4, 2, 2, 1, 1, true, 3}, Row{5, 1, 3, 0, 1, true, 2}, Row{2, 3, 2, 0, 1, true, 1},
        Row{2, 3, 2, 0, 1, false, 0}, Row{1, 2, 1, 0, 1, false, 0}, Row{1, 9, 1, 0, 1, false, -7},
        Row{3, 2, 3, 1, 1, true, 2}, Row{2, 2, 3, 1, 1, true, 1}})
    CHECK_EQ(windowOutputSize(r.in, r.kernel, r.stride, r.padding, r.dilation, r.ceilMode), r.out);
}

TEST("plan: a plan built in C++ is checked alike") {
  Plan plan = parsePlan(kPlan).take();
  CHECK(checkPlan(plan).ok());
  std::get<ConvStep>(plan.steps[1].body).groups = 0;
  CHECK_HAS(checkPlan(plan).message, "field 'groups' must be from 1");
}

TEST("plan: cost of a conv and of a linear step by hand") {
  const Plan plan = parsePlan(kPlan).take();
  const StepCost conv = stepCost(plan, plan.steps[1]);
  CHECK_EQ(conv.flop, 2.0 * 5 * 4 * 8 * 27);
  CHECK_EQ(conv.bytes, 4.0 * (9 * 7 * 3 + 5 * 4 * 8 + 8 * 27 + 2 * 8));
  const StepCost linear = stepCost(plan, plan.steps[9]);
  CHECK_EQ(linear.flop, 2.0 * 8 * 5);
  CHECK_EQ(linear.bytes, 4.0 * (8 + 5 + 8 * 5 + 5));
}

// About the size of a 1,001-layer bottleneck network.
std::string deepPlan(int convs) {
  std::string values = R"({"name":"x","shape":[7,7,8],"dtype":"float32"})";
  std::string steps =
      R"({"kind":"input","name":"input","output":0,"index":0,"dtype":"float32","layout":"nchw"})";
  std::string parameters;
  for (int i = 1; i <= convs; ++i) {
    const std::string n = std::to_string(i), p = "layer" + n;
    values += R"(,{"name":")" + p + R"(","shape":[7,7,8],"dtype":"float32"})";
    steps +=
        R"(,{"kind":"conv","name":")" + p + R"(","input":)" + std::to_string(i - 1) +
        R"(,"output":)" + n +
        R"(,"k":8,"kernel":[3,3],"stride":[1,1],"padding":[1,1],"dilation":[1,1],"groups":1,"weight":")" +
        p + R"(.w","norm":{"weight":")" + p + R"(.g","bias":")" + p + R"(.b","mean":")" + p +
        R"(.m","var":")" + p + R"(.v","eps":0.00001},"activation":"relu"})";
    parameters += R"({"name":")" + p + R"(.w","shape":[8,8,3,3]},)";
    for (const char* part : {"g", "b", "m", "v"})
      parameters += R"({"name":")" + p + "." + part + R"(","shape":[8]},)";
  }
  parameters.pop_back();
  steps += R"(,{"kind":"output","name":"output","input":)" + std::to_string(convs) +
           R"(,"index":0,"layout":"nchw"})";
  return R"({"version":1,"values":[)" + values + R"(],"steps":[)" + steps + R"(],"parameters":[)" +
         parameters + R"(],"inputs":1,"outputs":1})";
}

TEST("plan: a thousand convolutions parse in a moment") {
  const std::string text = deepPlan(1001);
  const auto begin = std::chrono::steady_clock::now();
  auto result = parsePlan(text);
  const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
  CHECK(result.ok() && result.value().steps.size() == 1003);
  std::printf("  %zu KB of plan in %.2f ms\n", text.size() >> 10, taken.count());
  CHECK(taken.count() < 2000);  // takes some 10 ms; a sanitizer on a busy machine, 500
}

}  // namespace

int main(int argc, char** argv) { return test::runCases(argc, argv); }
