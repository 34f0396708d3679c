#include "cuda/completion.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "cuda/error.h"

namespace resnet::cuda {

// Expected: a doubly linked list, since ends come in any order across lanes. Ready: first in, first out.
struct CompletionState {
  int device = 0;
  std::mutex mutex;
  std::condition_variable wake;
  Awaited* firstExpected = nullptr;
  Awaited *firstReady = nullptr, *lastReady = nullptr;
  bool stopping = false;
  std::thread thread;

  void link(Awaited* awaited) {
    awaited->state_ = this;
    awaited->expected_ = true;
    awaited->previous_ = nullptr;
    awaited->next_ = firstExpected;
    if (firstExpected != nullptr) firstExpected->previous_ = awaited;
    firstExpected = awaited;
  }
  void unlink(Awaited* awaited) {
    awaited->expected_ = false;
    (awaited->previous_ != nullptr ? awaited->previous_->next_ : firstExpected) = awaited->next_;
    if (awaited->next_ != nullptr) awaited->next_->previous_ = awaited->previous_;
    awaited->next_ = awaited->previous_ = nullptr;
  }
  void makeReady(Awaited* awaited) {
    (lastReady != nullptr ? lastReady->next_ : firstReady) = awaited;
    lastReady = awaited;
  }
  Awaited* takeReady() {
    Awaited* awaited = firstReady;
    firstReady = awaited->next_;
    if (firstReady == nullptr) lastReady = nullptr;
    awaited->next_ = nullptr;
    return awaited;
  }

  void run();
  void lookAtStreams(std::unique_lock<std::mutex>& lock);
};

void CompletionState::run() {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kLookEvery{100};
  cudaSetDevice(device);
  Clock::time_point nextLook = Clock::now() + kLookEvery;
  std::unique_lock lock(mutex);
  while (true) {
    if (firstReady != nullptr) {
      Awaited* awaited = takeReady();
      lock.unlock();
      awaited->arrived(Status::okay());
      lock.lock();
    } else if (stopping) {
      return;
    } else if (firstExpected == nullptr) {
      wake.wait(lock);
      nextLook = Clock::now() + kLookEvery;
    } else if (wake.wait_until(lock, nextLook) == std::cv_status::timeout) {
      lookAtStreams(lock);
      nextLook = Clock::now() + kLookEvery;
    }
  }
}

// Only this thread ends what is expected, so an entry stays alive while the lock is released. CUDA is
// asked without it: a host function may be waiting for the lock inside CUDA.
void CompletionState::lookAtStreams(std::unique_lock<std::mutex>& lock) {
  for (Awaited* awaited = firstExpected; awaited != nullptr && firstReady == nullptr;) {
    lock.unlock();
    const cudaError_t state = awaited->streamState();
    lock.lock();
    if (!awaited->expected_) return;  // arrived meanwhile
    Awaited* next = awaited->next_;
    if (state != cudaSuccess && state != cudaErrorNotReady) {
      unlink(awaited);
      lock.unlock();
      awaited->arrived(cudaFailure(state, "running a batch"));
      lock.lock();
      return;  // the list may have changed; the rest is looked at next time
    }
    awaited = next;
  }
}

Completions::Completions(int device) : state_(std::make_shared<CompletionState>()) {
  state_->device = device;
  state_->thread = std::thread([state = state_] { state->run(); });
}

Completions::~Completions() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  // What arrived() released may have been the last owner of all this: a thread cannot join itself.
  if (state_->thread.get_id() == std::this_thread::get_id()) {
    state_->thread.detach();
  } else {
    state_->thread.join();
  }
}

Status Completions::expect(Awaited* awaited, cudaStream_t stream) {
  bool sleeps = false;
  {
    std::lock_guard lock(state_->mutex);
    sleeps = state_->firstExpected == nullptr;
    state_->link(awaited);
  }
  if (sleeps) state_->wake.notify_all();  // it waits without a time limit
  const cudaError_t error = cudaLaunchHostFunc(
      stream,
      [](void* user) {
        auto* self = static_cast<Awaited*>(user);
        CompletionState* state = self->state_;
        std::lock_guard lock(state->mutex);
        if (!self->expected_) return;
        state->unlink(self);
        state->makeReady(self);
        state->wake.notify_all();
      },
      awaited);
  if (error == cudaSuccess) return Status::okay();
  {
    std::lock_guard lock(state_->mutex);
    if (!awaited->expected_) return Status::okay();  // its stream was looked at meanwhile
    state_->unlink(awaited);
  }
  return cudaFailure(error, "asking for the end of a batch");
}

void Completions::post(Awaited* awaited) {
  {
    std::lock_guard lock(state_->mutex);
    state_->makeReady(awaited);
  }
  state_->wake.notify_all();
}

}  // namespace resnet::cuda
