// The process-wide pool that runs networks. Never libuv's: a network must not starve file and DNS
// work.
//
// Reference-counted by its users (environments); threads start when a job needs them and are joined
// when the last user leaves, while the library is still loaded. A job takes all its threads at once
// or waits in line (first in, first out): two jobs that held half of theirs each would stall at
// their barriers. Its threads run with denormals flushed (FTZ and DAZ): they cost 100 times a
// normal operation.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/status.h"

namespace resnet::cpu {

// Spins briefly, then sleeps: a descheduled neighbour must not keep a core busy. Reusable.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads) {}
  // True if the calling thread slept, so that it may have woken on another processor.
  bool wait() noexcept;

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

  // Work for `threads` threads: body(thread) runs once on each, then finish() on the last one out.
  // Owned by the submitter, untouched by the pool once finish() has been entered, so that finish()
  // may free or resubmit it.
  class Job {
   public:
    virtual ~Job() = default;
    virtual void body(int thread) noexcept = 0;
    virtual void finish() noexcept = 0;
    int threads = 1;

   private:
    friend class ThreadPool;
    int started_ = 0;
    std::atomic<int> running_{0};
    Job* next_ = nullptr;
  };

  // Starts threads until there are at least `threads`; kOutOfMemory when the system refuses one.
  Status reserve(int threads);
  // Queues a job; allocates nothing. Its threads must have been reserved.
  void submit(Job* job) noexcept;
  // Submits and waits; for compile-time work, from a thread outside the pool. The threads must have
  // been reserved.
  void runAndWait(int threads, const std::function<void(int thread)>& body);

 private:
  ThreadPool() = default;
  void workerLoop() noexcept;

  std::mutex mutex_;
  std::condition_variable wake_;
  Job* head_ = nullptr;  // waiting jobs, linked
  Job* tail_ = nullptr;
  Job* current_ = nullptr;  // being handed out, thread by thread
  int free_ = 0;            // threads that no started job has taken
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace resnet::cpu
