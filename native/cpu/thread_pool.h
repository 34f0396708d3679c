// The process-wide pool that runs networks. Never libuv's: a network must not starve file and DNS work.
//
// Reference-counted by its users (environments); threads start when a job needs them and are joined when the last
// user leaves, while the library is still loaded. A job takes all its threads at once or waits in line
// (first in, first out): two jobs that held half of theirs each would stall at their barriers.
// Its threads run with denormals flushed (FTZ and DAZ): they cost 100 times a normal operation.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace resnet::cpu {

// Spins briefly, then sleeps: a descheduled neighbour must not keep a core busy. Reusable.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads) {}
  void wait();

 private:
  const int threads_;
  std::atomic<int> arrived_{0};
  std::atomic<int> generation_{0};
};

struct ThreadBudget {
  int threads;       // default for a program
  std::string from;  // "affinity 2, cgroup quota 1.5"
};
const ThreadBudget& threadBudget();

class ThreadPool {
 public:
  // The pool of the process, made on first use; the returned pointer is one user.
  static std::shared_ptr<ThreadPool> acquire();
  static int users();
  static int liveThreads();
  ~ThreadPool();

  // Queues a job for `threads` threads: body(thread) runs once on each, then finish() on the last one out.
  // Neither may throw. Allocates nothing if `job` is reused: the caller owns it until finish() was called.
  struct Job {
    int threads = 1;
    std::function<void(int thread)> body;
    std::function<void()> finish;
    // internal
    int started = 0;
    std::atomic<int> running{0};
    Job* next = nullptr;
  };
  void submit(Job* job);
  // Submits and waits; for compile-time work from a thread outside the pool.
  void runAndWait(int threads, const std::function<void(int thread)>& body);

 private:
  ThreadPool() = default;
  void workerLoop();

  std::mutex mutex_;
  std::condition_variable wake_;
  Job* head_ = nullptr;  // waiting jobs, intrusive
  Job* tail_ = nullptr;
  Job* current_ = nullptr;  // being handed out
  int idle_ = 0;
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace resnet::cpu
