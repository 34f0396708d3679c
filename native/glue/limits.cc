#include "cpu/limits/limits.h"
#include "glue/arguments.h"
#include "glue/boxes.h"
#include "glue/functions.h"

namespace resnet::glue {
namespace {

constexpr int kMaxThreads = 1024;

Napi::Value limitsToJs(Napi::Env env, std::vector<cpu::Limit> limits) {
  Napi::Array rows = Napi::Array::New(env);
  for (const cpu::Limit& limit : limits) {
    Napi::Object row = Napi::Object::New(env);
    row.Set("name", Napi::String::New(env, limit.name));
    row.Set("value", Napi::Number::New(env, limit.value));
    row.Set("unit", Napi::String::New(env, limit.unit));
    row.Set("threads", Napi::Number::New(env, limit.threads));
    rows.Set(rows.Length(), row);
  }
  return rows;
}

}  // namespace

Result<Napi::Value> measureLimits(const Napi::CallbackInfo& info) {
  Arguments call(info, "measureLimits");
  const int threads = int(call.integer("threads", 1, kMaxThreads));
  const std::shared_ptr<Control> control = call.control();
  RESNET_RETURN_IF_ERROR(call.status());
  return promiseOf<std::vector<cpu::Limit>>(
      info.Env(), [threads, control] { return cpu::measureLimits(threads, *control); }, limitsToJs);
}

}  // namespace resnet::glue
