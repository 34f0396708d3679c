#include "cpu/isa.h"
#include "cpu/thread_pool.h"
#include "glue/counters.h"
#include "glue/functions.h"
#include "image/threads.h"

#if defined(__linux__)
#include <unistd.h>
#endif

namespace resnet::glue {
namespace {

// 0 where the system does not say.
double cacheBytes([[maybe_unused]] int level) {
#if defined(_SC_LEVEL2_CACHE_SIZE) && defined(_SC_LEVEL3_CACHE_SIZE)
  const long bytes = sysconf(level == 2 ? _SC_LEVEL2_CACHE_SIZE : _SC_LEVEL3_CACHE_SIZE);
  return bytes > 0 ? double(bytes) : 0;
#else
  return 0;
#endif
}

}  // namespace

Result<Napi::Value> cpuInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array tiers = Napi::Array::New(env);
  for (const cpu::IsaSupport& support : cpu::hostIsas()) {
    Napi::Object tier = Napi::Object::New(env);
    tier.Set("isa", Napi::String::New(env, cpu::isaName(support.isa)));
    tier.Set("supported", Napi::Boolean::New(env, support.supported));
    tier.Set("reason", Napi::String::New(env, support.reason));
    tiers.Set(tiers.Length(), tier);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("model", Napi::String::New(env, cpu::cpuModelName()));
  const Result<cpu::Isa> chosen = cpu::chooseIsa("");
  if (chosen.ok()) result.Set("isa", Napi::String::New(env, cpu::isaName(chosen.value())));
  result.Set("tiers", tiers);
  result.Set("threads", Napi::Number::New(env, cpu::threadBudget().threads));
  result.Set("threadsFrom", Napi::String::New(env, cpu::threadBudget().from));
  const Result<int> imageThreads = image::threadCount();
  result.Set("imageThreads", Napi::Number::New(env, imageThreads.ok() ? imageThreads.value() : 0));
  result.Set("l2Bytes", Napi::Number::New(env, cacheBytes(2)));
  result.Set("l3Bytes", Napi::Number::New(env, cacheBytes(3)));
  return result;
}

Result<Napi::Value> counters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  const auto set = [&](const char* name, int count) {
    result.Set(name, Napi::Number::New(env, count));
  };
  set("poolThreads", cpu::ThreadPool::liveThreads());
  set("poolUsers", liveCounts.poolUsers);
  set("checkpoints", liveCounts.checkpoints);
  set("weights", liveCounts.weights);
  set("programs", liveCounts.programs);
  set("lanes", liveCounts.lanes);
  set("devices", liveCounts.devices);
  set("deviceMemories", liveCounts.deviceMemories);
  set("pictures", liveCounts.pictures);
  set("runsInFlight", liveCounts.runsInFlight);
  return result;
}

}  // namespace resnet::glue
