#include "core/parameters.h"
#include "core/plan.h"
#include "cpu/isa.h"
#include "glue/arguments.h"
#include "glue/boxes.h"
#include "glue/functions.h"

namespace resnet::glue {
namespace {

constexpr int kMaxBatch = 65536;
constexpr int kMaxThreads = 1024;

size_t elementsOf(const ValueInfo& value) { return size_t(value.h) * value.w * value.c; }

// The view that holds elements of a dtype; of half precision their bits.
napi_typedarray_type viewOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return napi_float32_array;
    case DType::kFloat16:
    case DType::kBFloat16:
      return napi_uint16_array;
    case DType::kUint8:
      return napi_uint8_array;
    case DType::kInt32:
      return napi_int32_array;
  }
  return napi_float32_array;
}

// What a submission must bring for each of the plan's inputs and outputs.
void readPorts(const Plan& plan, ProgramBox& box) {
  box.inputs.resize(plan.inputs);
  box.outputs.resize(plan.outputs);
  for (const Step& step : plan.steps) {
    if (const auto* input = std::get_if<InputStep>(&step.body)) {
      const ValueInfo& value = plan.values[input->output];
      box.inputs[input->index] = {viewOf(input->dtype),
                                  elementsOf(value),
                                  input->resize.has_value(),
                                  value.h,
                                  value.w,
                                  value.c};
    } else if (const auto* output = std::get_if<OutputStep>(&step.body)) {
      const ValueInfo& value = plan.values[output->input];
      const DType dtype = value.dtype == DType::kInt32 ? DType::kInt32 : DType::kFloat32;
      box.outputs[output->index] = {viewOf(dtype), elementsOf(value)};
    }
  }
}

struct CompileRequest {
  std::string plan;
  std::shared_ptr<const Weights> weights;
  CompileOptions options;
  std::shared_ptr<Control> control;
  std::shared_ptr<Backend> backend;
  std::shared_ptr<const OpenDevice> device;  // null: the CPU
};

Result<std::shared_ptr<ProgramBox>> compileNow(const CompileRequest& request) {
  if (request.control->stop()) return Status::aborted();
  Result<Plan> plan = parsePlan(request.plan);
  if (!plan.ok()) return plan.takeStatus();
  RESNET_RETURN_IF_ERROR(checkParameters(plan.value(), *request.weights));
  auto box = std::make_shared<ProgramBox>();
  box->maxBatch = request.options.maxBatch;
  readPorts(plan.value(), *box);
  auto program =
      request.backend->compile(plan.value(), request.weights, request.options, *request.control);
  if (!program.ok()) return program.takeStatus();
  box->program = program.take();
  box->device = request.device;
  return box;
}

Napi::Value programToJs(Napi::Env env, std::shared_ptr<ProgramBox> box) {
  const Program& program = *box->program;
  Napi::Object details = Napi::Object::New(env);
  details.Set("isa", Napi::String::New(env, program.isa()));
  details.Set("threads", Napi::Number::New(env, program.threads()));
  details.Set("maxBatch", Napi::Number::New(env, box->maxBatch));
  details.Set("arenaBytes", Napi::Number::New(env, double(program.arenaBytes())));
  details.Set("weightBytes", Napi::Number::New(env, double(program.weightBytes())));
  return makeHandleWithInfo(env, std::move(box), details);
}

Result<Napi::Value> explain(const Napi::CallbackInfo& info) {
  Result<std::shared_ptr<ProgramBox>> box = liveReceiver<ProgramBox>(info);
  if (!box.ok()) return box.takeStatus();
  const Napi::Env env = info.Env();
  Napi::Array rows = Napi::Array::New(env);
  for (const ExplainRow& row : box.value()->program->explain()) {
    Napi::HandleScope scope(env);
    Napi::Array refused = Napi::Array::New(env);
    for (const std::string& reason : row.refused) {
      refused.Set(refused.Length(), Napi::String::New(env, reason));
    }
    Napi::Object object = Napi::Object::New(env);
    object.Set("step", Napi::String::New(env, row.step));
    object.Set("kind", Napi::String::New(env, row.kind));
    object.Set("implementation", Napi::String::New(env, row.implementation));
    object.Set("refused", refused);
    object.Set("flop", Napi::Number::New(env, row.flop));
    object.Set("bytes", Napi::Number::New(env, row.bytes));
    object.Set("milliseconds", Napi::Number::New(env, row.milliseconds));
    object.Set("workspaceBytes", Napi::Number::New(env, row.workspaceBytes));
    object.Set("ceilingMilliseconds", Napi::Number::New(env, row.ceilingMilliseconds));
    const bool known = row.milliseconds > 0 && row.ceilingMilliseconds > 0;
    object.Set("share",
               Napi::Number::New(env, known ? row.ceilingMilliseconds / row.milliseconds : 0));
    rows.Set(rows.Length(), object);
  }
  return rows;
}

// What only devices read; each may be absent.
void readDeviceOptions(Arguments& call, CompileOptions& options) {
  if (call.has("deterministic")) options.deterministic = call.boolean("deterministic");
  if (call.has("graphs")) options.graphs = call.boolean("graphs");
  if (call.has("autotune")) {
    options.autotune = call.word<Autotune>(
        "autotune",
        {{"off", Autotune::kOff}, {"quick", Autotune::kQuick}, {"full", Autotune::kFull}});
  }
  if (call.has("workspaceLimit")) {
    options.workspaceLimit = size_t(call.integer("workspaceLimit", 0, kMaxSafeInteger));
  }
  if (call.has("tracks")) {
    options.tracks = call.word<int>("tracks", {{"auto", 0}, {"1", 1}, {"2", 2}});
  }
  if (call.has("tileOrder")) {
    options.tileOrder = call.word<TileOrder>("tileOrder", {{"auto", TileOrder::kAuto},
                                                           {"forward", TileOrder::kForward},
                                                           {"alternate", TileOrder::kAlternate}});
  }
  options.engineCache = call.optionalText("engineCache").value_or("");
}

}  // namespace

const napi_type_tag ProgramBox::kTag = {0x5be7410cda2f4d68, 0xb6920f8d3ac1e704};

std::vector<napi_property_descriptor> ProgramBox::methods() {
  return {method("explain", throwing<explain>), method("createLane", rejecting<createLane>),
          method("dispose", rejecting<disposeAndWait<ProgramBox>>)};
}

Result<Napi::Value> compile(const Napi::CallbackInfo& info) {
  Arguments call(info, "compile");
  CompileRequest request;
  request.plan = call.text("plan");
  const auto weights = call.handle<WeightsBox>("weights");
  request.options.maxBatch = int(call.integer("maxBatch", 1, kMaxBatch));
  request.options.threads = int(call.integer("threads", 0, kMaxThreads));
  request.options.precision =
      call.word<Float32Precision>("float32Precision", {{"highest", Float32Precision::kHighest},
                                                       {"high", Float32Precision::kHigh},
                                                       {"tf32", Float32Precision::kTf32}});
  request.options.isa = call.optionalText("isa").value_or("");
  const auto device = call.has("device") ? call.handle<DeviceBox>("device") : nullptr;
  readDeviceOptions(call, request.options);
  request.control = call.control();
  RESNET_RETURN_IF_ERROR(call.status());

  request.weights = weights->weights;
  if (device != nullptr) request.device = device->device;
  request.backend =
      device != nullptr ? device->device->backend : Environment::of(info.Env()).backend();
  return promiseOf<std::shared_ptr<ProgramBox>>(
      info.Env(), [request = std::move(request)] { return compileNow(request); }, programToJs);
}

}  // namespace resnet::glue
