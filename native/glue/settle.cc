#include "glue/settle.h"

namespace resnet::glue {

Napi::Value makeError(Napi::Env env, const Status& status) {
  Napi::Error error = Napi::Error::New(env, status.message);
  error.Set("code", Napi::String::New(env, codeName(status.code)));
  if (!status.step.empty()) error.Set("step", Napi::String::New(env, status.step));
  return error.Value();
}

void throwError(Napi::Env env, const Status& status) {
  if (env.IsExceptionPending()) return;  // a getter's own exception goes first
  napi_throw(env, makeError(env, status));
}

Napi::Value rejected(Napi::Env env, const Status& status) {
  auto deferred = Napi::Promise::Deferred::New(env);
  if (env.IsExceptionPending()) {
    deferred.Reject(env.GetAndClearPendingException().Value());
  } else {
    deferred.Reject(makeError(env, status));
  }
  return deferred.Promise();
}

// The only entries from JavaScript: nothing that the standard library throws passes them.
Result<Napi::Value> guarded(Function function, const Napi::CallbackInfo& info) {
  try {
    return function(info);
  } catch (const std::bad_alloc&) {
    return Status::error(Code::kOutOfMemory, "no memory left for a copy of the arguments");
  } catch (const std::exception& error) {
    return Status::error(Code::kInternal, error.what());
  }
}

}  // namespace resnet::glue
