// The addon in one JavaScript environment (the main thread or a worker): its threads, its way back to
// JavaScript, and the order in which all of it ends.
//
// Lifetime, the one pattern that survives worker.terminate() and process.exit() in mid-run:
//  - one thread-safe function per environment, made first, and a cleanup hook, added after it: hooks run last-in
//    first-out, so ours runs while the function still exists;
//  - other threads call that function only under the lock of `landing_` and only if it is not closed; what they hand over
//    lies there, so a function that Node deletes with calls queued loses nothing;
//  - the hook closes, waits until nothing of this environment is in flight (borrowed ArrayBuffers die with it), joins
//    the job threads, drops every native object and then the process-wide pool, whose last user joins its threads while
//    this library is still loaded.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <unordered_set>
#include <vector>

#include "core/backend.h"
#include "core/control.h"
#include "core/job_queue.h"
#include "core/landing.h"
#include "cpu/thread_pool.h"
#include "glue/addon_api.h"

namespace resnet::glue {

// A promise whose work is under way. Made and destroyed on the JavaScript thread only: it holds references.
class Task {
 public:
  virtual ~Task() = default;
  virtual void settle(Napi::Env env) = 0;  // on the JavaScript thread, once
};

// A native object that JavaScript holds; closed when its environment ends.
class HandleBase {
 public:
  virtual ~HandleBase() = default;
  virtual void close(napi_env env) = 0;  // drops the native object; idempotent
};

enum class HandleClass {
  kControl,
  kCheckpoint,
  kWeights,
  kProgram,
  kLane,
  kPlugin,
  kDevice,
  kDeviceMemory,
  kPicture,
  kCount
};

class Environment : public std::enable_shared_from_this<Environment> {
 public:
  static Environment& of(Napi::Env env);
  // Once per environment, at load. An empty pointer leaves a JavaScript exception pending.
  static std::shared_ptr<Environment> create(Napi::Env env);

  // On the JavaScript thread:
  void begin();  // a task is under way: the event loop must not end
  // On one of this environment's own threads; false when it got none. In the common line, or in one of those for images,
  // which have numbers from 1 on: a thousand images must not hold up a compilation, nor the reverse.
  bool enqueue(std::function<void()> job) { return enqueue({0, kMaxThreads}, std::move(job)); }
  bool enqueue(LineOfJobs line, std::function<void()> job) {
    return jobs_.enqueue(line, std::move(job));
  }
  void discard(
      std::shared_ptr<void> object);  // frees it on one of those threads: it may take milliseconds
  std::shared_ptr<Control> makeControl() const;
  std::shared_ptr<Backend> backend();  // acquires the pool at first need
  void remember(HandleBase* handle) { handles_.insert(handle); }
  void forget(HandleBase* handle) { handles_.erase(handle); }
  napi_ref& constructorOf(HandleClass kind) { return constructors_[size_t(kind)]; }

  // On any thread: gives a begun task back, to be settled on the JavaScript thread.
  void finish(std::unique_ptr<Task> task);

 private:
  explicit Environment(Napi::Env env) : env_(env) {}
  Napi::Env env() const { return env_; }
  void settleAll();
  void close();

  static constexpr int kMaxThreads = 2;
  // Tasks that lie untaken when the event loop is late: one may have landed just now.
  static constexpr size_t kLate = 2;

  napi_env env_;
  napi_threadsafe_function wake_ = nullptr;
  std::shared_ptr<std::atomic<bool>> closing_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<cpu::ThreadPool> pool_;
  std::shared_ptr<Backend> backend_;
  std::unordered_set<HandleBase*> handles_;
  std::array<napi_ref, size_t(HandleClass::kCount)> constructors_{};
  JobQueue jobs_;
  int pending_ = 0;  // tasks not yet settled: the event loop is held while there are any
  Landing<Task> landing_;
};

}  // namespace resnet::glue
