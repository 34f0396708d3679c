// From a Status to a JavaScript error, and from work on another thread to a settled promise.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <utility>

#include "core/status.h"
#include "glue/environment.h"

namespace resnet::glue {

// An Error with `code` and, inside a plan, `step`. Empty when the environment is ending.
Napi::Value makeError(Napi::Env env, const Status& status);
void throwError(Napi::Env env, const Status& status);
Napi::Value rejected(Napi::Env env, const Status& status);

// A promise's two ends. Not node-addon-api's: that one holds uninitialised memory once the environment is ending, and
// returning it to JavaScript crashes.
class Deferred {
 public:
  explicit Deferred(Napi::Env env);
  Napi::Value promise() const { return {env_, promise_}; }
  void resolve(const Napi::Value& value);
  void reject(const Napi::Value& error);

 private:
  napi_env env_;
  napi_deferred deferred_ = nullptr;  // null: there is none, or it is settled
  napi_value promise_ = nullptr;      // valid in the call that made it
};

// What the functions of the addon are: they check, copy and start; a Status is thrown or rejected by their entry.
using Function = Result<Napi::Value> (*)(const Napi::CallbackInfo& info);

Result<Napi::Value> guarded(Function function, const Napi::CallbackInfo& info);

template <Function function>
napi_value throwing(napi_env env, napi_callback_info raw) {
  Napi::CallbackInfo info(env, raw);
  Result<Napi::Value> result = guarded(function, info);
  if (result.ok()) return result.value();
  throwError(env, result.status());
  return nullptr;
}
template <Function function>
napi_value rejecting(napi_env env, napi_callback_info raw) {
  Napi::CallbackInfo info(env, raw);
  Result<Napi::Value> result = guarded(function, info);
  return result.ok() ? result.value() : rejected(env, result.status());
}

struct Nothing {};
inline Napi::Value undefined(Napi::Env env, Nothing) { return env.Undefined(); }

// A promise of `toJs(value)`. Whoever works on it stores `result` and hands the task to Environment::finish.
template <typename T>
class Promised : public Task {
 public:
  using ToJs = std::function<Napi::Value(Napi::Env, T)>;
  Promised(Napi::Env env, ToJs toJs) : deferred_(env), toJs_(std::move(toJs)) {}

  Napi::Value promise() const { return deferred_.promise(); }

  Result<T> result = Status::error(Code::kInternal, "no result");
  std::function<void()> after;  // on the JavaScript thread, once settled
  Napi::ObjectReference kept;   // what must live until then

  void settle(Napi::Env env) override {
    if (result.ok()) {
      deferred_.resolve(toJs_(env, result.take()));
    } else {
      deferred_.reject(makeError(env, result.status()));
    }
    if (after) after();
  }

 private:
  Deferred deferred_;
  ToJs toJs_;
};

// Where work runs, and what must live until its promise settles.
struct Placement {
  LineOfJobs line;  // 0: the common one
  Napi::Object kept;
};

// Runs `work` on one of the environment's own threads; the promise is of toJs(its value).
template <typename T>
Napi::Value promiseOf(Napi::Env env, std::function<Result<T>()> work,
                      typename Promised<T>::ToJs toJs, const Placement& placement = {}) {
  Environment& environment = Environment::of(env);
  auto* task = new Promised<T>(env, std::move(toJs));  // owned by the job, then by finish()
  if (!placement.kept.IsEmpty()) task->kept = Napi::Persistent(placement.kept);
  const Napi::Value promise = task->promise();
  environment.begin();
  auto job = [environment = environment.shared_from_this(), task,
              work = std::move(work)]() mutable {
    try {
      task->result = work();
    } catch (const std::bad_alloc&) {
      task->result =
          Status::error(Code::kOutOfMemory, "no memory left; lower maxBatch or the input size");
    } catch (const std::exception& error) {
      task->result = Status::error(Code::kInternal, error.what());
    }
    work = nullptr;  // what it held may be large: freed here, off the JavaScript thread
    environment->finish(std::unique_ptr<Task>(task));
  };
  const bool queued = placement.line.number == 0
                          ? environment.enqueue(std::move(job))
                          : environment.enqueue(placement.line, std::move(job));
  if (!queued) {
    task->result = Status::error(Code::kOutOfMemory,
                                 "the system refused a thread; end some or raise its limit");
    environment.finish(std::unique_ptr<Task>(task));
  }
  return promise;
}

// Lets go of `object` on another thread, then resolves `disposal`: what nobody else holds is freed by then.
void freeThenSettle(Environment& environment, std::shared_ptr<void> object,
                    std::unique_ptr<Promised<Nothing>> disposal);

}  // namespace resnet::glue
