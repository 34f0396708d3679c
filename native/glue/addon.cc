// The addon's exports: binding.d.ts, line by line.
#include "core/status.h"
#include "glue/environment.h"
#include "glue/functions.h"
#include "glue/handle.h"

namespace resnet::glue {
namespace {

Napi::Value errorCodes(Napi::Env env) {
  Napi::Array codes = Napi::Array::New(env);
#define RESNET_PUSH_CODE(name, text) codes.Set(codes.Length(), Napi::String::New(env, text));
  RESNET_STATUS_CODES(RESNET_PUSH_CODE)
#undef RESNET_PUSH_CODE
  return codes;
}

napi_property_descriptor exported(const char* name, napi_callback callback) {
  return method(name, callback, napi_enumerable);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  if (Environment::create(env) == nullptr) return exports;
  const napi_property_descriptor functions[] = {
      exported("cpuInfo", throwing<cpuInfo>),
      exported("counters", throwing<counters>),
      exported("measureLimits", rejecting<measureLimits>),
      exported("createControl", throwing<createControl>),
      exported("openCheckpoint", rejecting<openCheckpoint>),
      exported("weightsFromCheckpoint", throwing<weightsFromCheckpoint>),
      exported("weightsFromTensors", throwing<weightsFromTensors>),
      exported("weightsFromFormula", throwing<weightsFromFormula>),
      exported("openJpegLibrary", throwing<openJpegLibrary>),
      exported("prepareJpeg", rejecting<prepareJpeg>),
      exported("preparePixels", rejecting<preparePixels>),
      exported("decodeJpeg", rejecting<decodeJpeg>),
      exported("decodePixels", rejecting<decodePixels>),
      exported("nvidiaDriver", throwing<nvidiaDriver>),
      exported("openPlugin", rejecting<openPlugin>),
      exported("compile", rejecting<compile>),
  };
  napi_define_properties(env, exports, std::size(functions), functions);
  exports.Set("version", Napi::String::New(env, RESNET_VERSION));
  exports.Set("errorCodes", errorCodes(env));
  return exports;
}

}  // namespace
}  // namespace resnet::glue

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  return resnet::glue::init(env, exports);
}
NODE_API_MODULE(resnet, init)
