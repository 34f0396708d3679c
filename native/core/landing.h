// Where work that other threads have ended lands, until one thread takes it: what a promise's settling needs of them.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace resnet {

template <typename Task>
class Landing {
 public:
  using Tasks = std::vector<std::unique_ptr<Task>>;

  // One more is under way: land() must follow.
  void begin() {
    std::lock_guard lock(mutex_);
    ++inFlight_;
  }

  // On any thread. `wake` is called under the lock, unless a call is under way already or close() has been called; it
  // returns whether take() will be called for it. Gives back how many tasks lay there before.
  template <typename Wake>
  size_t land(std::unique_ptr<Task> task, const Wake& wake) {
    std::lock_guard lock(mutex_);
    const size_t before = landed_.size();
    landed_.push_back(std::move(task));
    --inFlight_;
    if (!closed_ && !woken_) woken_ = wake();
    // Under the lock: whoever waits may free this object as soon as it has it.
    changed_.notify_all();
    return before;
  }

  // All that have landed.
  Tasks take() {
    std::lock_guard lock(mutex_);
    woken_ = false;
    return std::exchange(landed_, {});
  }

  // Nobody is woken from now on; waits for what is under way.
  Tasks close() {
    std::unique_lock lock(mutex_);
    closed_ = true;
    changed_.wait(lock, [this] { return inFlight_ == 0; });
    return std::exchange(landed_, {});
  }

 private:
  std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  bool closed_ = false;
  bool woken_ = false;  // a call of take() is to come
  int inFlight_ = 0;
  Tasks landed_;
};

}  // namespace resnet
