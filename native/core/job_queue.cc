#include "core/job_queue.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "core/scheduling.h"

namespace resnet {

bool JobQueue::enqueue(LineOfJobs line, std::function<void()> job) {
  std::lock_guard lock(mutex_);
  if (stopping_) return false;
  Line& place = lines_[line.number];
  place.limit = line.limit;
  place.jobs.push_back({sequence_++, std::move(job)});
  if (startable() > idle_) {
    try {  // std::thread reports a refusal by throwing
      threads_.emplace_back([this] { threadLoop(); });
    } catch (const std::exception&) {
      if (threads_.empty()) {
        lines_.clear();
        return false;
      }
    }
  }
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

// Jobs that might begin now.
int JobQueue::startable() const {
  int count = 0;
  for (const auto& [number, line] : lines_) {
    count += std::clamp(line.limit - line.running, 0, int(line.jobs.size()));
  }
  return count;
}

// The line whose first job is next; end() when none may begin.
JobQueue::Lines::iterator JobQueue::next() {
  auto best = lines_.end();
  for (auto at = lines_.begin(); at != lines_.end(); ++at) {
    const Line& line = at->second;
    if (line.jobs.empty() || line.running >= line.limit) continue;
    if (best == lines_.end() || line.jobs.front().sequence < best->second.jobs.front().sequence) {
      best = at;
    }
  }
  return best;
}

void JobQueue::threadLoop() {
  giveWay(GivesWay::kImages);
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto found = next();
    if (found == lines_.end()) {
      // What may not begin yet is left to the threads that its line keeps busy.
      if (stopping_) return;
      ++idle_;
      work_.wait(lock, [this] { return stopping_ || startable() > 0; });
      --idle_;
      continue;
    }
    Line& line = found->second;
    std::function<void()> job = std::move(line.jobs.front().job);
    line.jobs.pop_front();
    ++line.running;
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
    --line.running;
    if (line.running == 0 && line.jobs.empty()) lines_.erase(found);
  }
}

}  // namespace resnet
