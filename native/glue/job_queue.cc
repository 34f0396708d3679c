#include "glue/job_queue.h"

#include <exception>
#include <utility>

namespace resnet::glue {

bool JobQueue::enqueue(std::function<void()> job) {
  std::lock_guard lock(mutex_);
  if (stopping_) return false;
  if (idle_ <= int(jobs_.size()) && int(threads_.size()) < maxThreads_) {
    try {  // std::thread reports a refusal by throwing
      threads_.emplace_back([this] { threadLoop(); });
    } catch (const std::exception&) {
      if (threads_.empty()) return false;
    }
  }
  jobs_.push_back(std::move(job));
  work_.notify_one();
  return true;
}

void JobQueue::close() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

void JobQueue::threadLoop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (jobs_.empty()) {
      if (stopping_) return;
      ++idle_;
      work_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      --idle_;
      continue;
    }
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
  }
}

}  // namespace resnet::glue
