// Work in line for a few threads, which start when it comes and end with the queue.
//
// A line is a share of the threads: at most `limit` of its jobs run at once, in the order in which they came. Lines do not
// hold each other up, and there are as many threads as the lines in use may run jobs together. Whichever job came first
// of those that may begin is next.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace resnet {

// Jobs with one number share a line; the last limit that was given, at least 1, counts.
struct LineOfJobs {
  int number = 0;
  int limit = 1;
};

// enqueue and close on one thread. Jobs do not throw.
class JobQueue {
 public:
  ~JobQueue() { close(); }

  // False when the system gave no thread, or after close().
  bool enqueue(LineOfJobs line, std::function<void()> job);
  // Runs what is in line, then joins the threads. Idempotent.
  void close();

 private:
  struct Waiting {
    uint64_t sequence = 0;
    std::function<void()> job;
  };
  struct Line {
    int limit = 1;
    int running = 0;
    std::deque<Waiting> jobs;
  };
  using Lines = std::map<int, Line>;

  void threadLoop();
  int startable() const;
  Lines::iterator next();

  std::vector<std::thread> threads_;

  std::mutex mutex_;  // guards the rest
  std::condition_variable work_;
  Lines lines_;  // those with jobs that wait or run
  uint64_t sequence_ = 0;
  int idle_ = 0;
  bool stopping_ = false;
};

}  // namespace resnet
