#include "glue/environment.h"

#include <thread>
#include <utility>

#include "cpu/backend.h"
#include "glue/counters.h"

namespace resnet::glue {

Environment& Environment::of(Napi::Env env) {
  return **env.GetInstanceData<std::shared_ptr<Environment>>();
}

std::shared_ptr<Environment> Environment::create(Napi::Env env) {
  std::shared_ptr<Environment> made(new Environment(env));
  const auto settle = [](napi_env live, napi_value, void* self, void*) {
    // Without an environment Node is only emptying its queue: the hook has taken what was in ours.
    if (live != nullptr) static_cast<Environment*>(self)->settleAll();
  };
  const auto close = [](void* self) { static_cast<Environment*>(self)->close(); };
  const bool ready = napi_create_threadsafe_function(
                         env, nullptr, nullptr, Napi::String::New(env, "resnet"), 0, 1, nullptr,
                         nullptr, made.get(), settle, &made->wake_) == napi_ok &&
                     napi_unref_threadsafe_function(env, made->wake_) == napi_ok &&
                     napi_add_env_cleanup_hook(env, close, made.get()) == napi_ok;
  if (!ready) {
    Napi::Error::New(env, "resnet: Node refused a thread-safe function")
        .ThrowAsJavaScriptException();
    return nullptr;
  }
  env.SetInstanceData(new std::shared_ptr<Environment>(made));
  return made;
}

void Environment::begin() {
  if (pending_++ == 0) napi_ref_threadsafe_function(env_, wake_);
  landing_.begin();
}

void Environment::finish(std::unique_ptr<Task> task) {
  const size_t untaken = landing_.land(std::move(task), [this] {
    return napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking) == napi_ok;
  });
  // The event loop has been woken and has not come: it may be waiting for this very processor, which a thread that always
  // finds more work leaves at the next tick of the system's clock only, 4 ms later or 10.
  if (untaken >= kLate) std::this_thread::yield();
}

void Environment::settleAll() {
  std::vector<std::unique_ptr<Task>> tasks = landing_.take();
  for (auto& task : tasks) {
    Napi::HandleScope scope(env_);
    task->settle(env_);
    task.reset();
    if (--pending_ == 0) napi_unref_threadsafe_function(env_, wake_);
  }
}

std::shared_ptr<Control> Environment::makeControl() const {
  struct Owner {
    std::shared_ptr<const std::atomic<bool>> closing;
    Control control;
  };
  auto owner = std::make_shared<Owner>();
  owner->closing = closing_;
  owner->control.closing = closing_.get();
  return {owner, &owner->control};
}

std::shared_ptr<Backend> Environment::backend() {
  if (backend_ == nullptr) {
    pool_ = cpu::ThreadPool::acquire();
    ++liveCounts.poolUsers;
    backend_ = cpu::makeCpuBackend(pool_);
  }
  return backend_;
}

void Environment::discard(std::shared_ptr<void> object) {
  if (object == nullptr) return;
  // The job may not be copied with the object still inside, or the JavaScript thread frees it after all.
  auto last = std::make_shared<std::shared_ptr<void>>(std::move(object));
  if (!enqueue([last] { last->reset(); })) last->reset();
}

void Environment::close() {
  closing_->store(true);  // what runs polls this as its cancel flag
  std::vector<std::unique_ptr<Task>> tasks = landing_.close();
  jobs_.close();

  Napi::HandleScope scope(env_);
  tasks.clear();  // their promises stay unsettled: nothing runs here any more
  for (HandleBase* handle : handles_) handle->close(env_);
  handles_.clear();
  for (napi_ref& constructor : constructors_) {
    if (constructor != nullptr) napi_delete_reference(env_, std::exchange(constructor, nullptr));
  }
  if (pool_ != nullptr) --liveCounts.poolUsers;
  backend_.reset();
  pool_.reset();
}

}  // namespace resnet::glue
