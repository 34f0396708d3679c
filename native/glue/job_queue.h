// Work in line for a few threads of its own, which start when it comes and end with the queue.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace resnet::glue {

// enqueue and close on one thread. Jobs do not throw.
class JobQueue {
 public:
  explicit JobQueue(int maxThreads) : maxThreads_(maxThreads) {}
  ~JobQueue() { close(); }

  // False when the system gave no thread, or after close().
  bool enqueue(std::function<void()> job);
  // Runs what is in line, then joins the threads. Idempotent.
  void close();

 private:
  void threadLoop();

  const int maxThreads_;
  std::vector<std::thread> threads_;

  std::mutex mutex_;  // guards the rest
  std::condition_variable work_;
  std::deque<std::function<void()>> jobs_;
  int idle_ = 0;
  bool stopping_ = false;
};

}  // namespace resnet::glue
