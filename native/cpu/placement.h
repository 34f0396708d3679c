// Keeps the threads of one job on processors of their own.
//
// A system may put two of them on one processor while something else, the event loop say, was for a moment on the other,
// and leave them there for many milliseconds: they sleep and wake too often for it to notice. Every other thread then
// waits at the barrier for both in turn. A fixed processor for each thread would cure that too, but takes from the system
// what it may know better (another process on that processor); so a thread moves only when it finds itself beside another
// of its job, and may be anywhere again afterwards. Linux; elsewhere this does nothing.
#pragma once

#include <atomic>
#include <memory>

namespace resnet::cpu {

class Placement {
 public:
  explicit Placement(int threads);

  // Called by thread `thread` of the job when it begins or has slept. Notes the processor that it runs on, and moves it to
  // one that it may use and where none of the others is, if there is such a one. Nothing but a few loads otherwise.
  void keepApart(int thread) noexcept;
  // The same for a thread that has run on: only if the system has moved it since.
  void followMoves(int thread) noexcept;
  // The thread has left the job: its processor is free.
  void leave(int thread) noexcept;
  // Where `thread` was last seen; -1 when it is not in the job.
  int processor(int thread) const noexcept;

 private:
  const int threads_;
  std::unique_ptr<std::atomic<int>[]> processors_;
};

}  // namespace resnet::cpu
