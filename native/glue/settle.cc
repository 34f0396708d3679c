#include "glue/settle.h"

#include <string>

namespace resnet::glue {

Deferred::Deferred(Napi::Env env) : env_(env) {
  if (napi_create_promise(env, &deferred_, &promise_) != napi_ok) {
    deferred_ = nullptr;
    promise_ = nullptr;
  }
}

// A status here only says that the environment is ending, where nobody listens.
void Deferred::resolve(const Napi::Value& value) {
  if (deferred_ == nullptr || value.IsEmpty()) return;
  napi_resolve_deferred(env_, std::exchange(deferred_, nullptr), value);
}
void Deferred::reject(const Napi::Value& error) {
  if (deferred_ == nullptr || error.IsEmpty()) return;
  napi_reject_deferred(env_, std::exchange(deferred_, nullptr), error);
}

Napi::Value makeError(Napi::Env env, const Status& status) {
  const auto text = [env](const std::string& utf8, napi_value* out) {
    return napi_create_string_utf8(env, utf8.data(), utf8.size(), out) == napi_ok;
  };
  napi_value message = nullptr, code = nullptr, step = nullptr, error = nullptr;
  if (!text(status.message, &message) || !text(codeName(status.code), &code) ||
      napi_create_error(env, nullptr, message, &error) != napi_ok ||
      napi_set_named_property(env, error, "code", code) != napi_ok) {
    return {};
  }
  if (!status.step.empty() &&
      (!text(status.step, &step) || napi_set_named_property(env, error, "step", step) != napi_ok)) {
    return {};
  }
  return {env, error};
}

void throwError(Napi::Env env, const Status& status) {
  if (env.IsExceptionPending()) return;  // a getter's own exception goes first
  const Napi::Value error = makeError(env, status);
  if (!error.IsEmpty()) napi_throw(env, error);
}

Napi::Value rejected(Napi::Env env, const Status& status) {
  napi_value pending = nullptr;
  if (env.IsExceptionPending()) napi_get_and_clear_last_exception(env, &pending);
  Deferred deferred(env);
  deferred.reject(pending == nullptr ? makeError(env, status) : Napi::Value(env, pending));
  return deferred.promise();
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

void freeThenSettle(Environment& environment, std::shared_ptr<void> object,
                    std::unique_ptr<Promised<Nothing>> disposal) {
  auto* task = disposal.release();  // owned by the job, then by finish()
  environment.begin();
  // The job may not be copied with the object still inside, or the JavaScript thread frees it after all.
  auto last = std::make_shared<std::shared_ptr<void>>(std::move(object));
  auto job = [environment = environment.shared_from_this(), last, task] {
    last->reset();
    task->result = Nothing{};
    environment->finish(std::unique_ptr<Task>(task));
  };
  if (!environment.enqueue(job)) job();
}

}  // namespace resnet::glue
