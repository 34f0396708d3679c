#include "cpu/placement.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace resnet::cpu {

Placement::Placement(int threads)
    : threads_(threads), processors_(new std::atomic<int>[size_t(threads)]) {
  for (int i = 0; i < threads; ++i) leave(i);
}

void Placement::leave(int thread) noexcept {
  processors_[size_t(thread)].store(-1, std::memory_order_relaxed);
}

int Placement::processor(int thread) const noexcept {
  return processors_[size_t(thread)].load(std::memory_order_relaxed);
}

void Placement::followMoves(int thread) noexcept {
#if defined(__linux__)
  if (threads_ > 1 && sched_getcpu() != processor(thread)) keepApart(thread);
#else
  (void)thread;
#endif
}

void Placement::keepApart(int thread) noexcept {
#if defined(__linux__)
  if (threads_ == 1) return;
  const int here = sched_getcpu();
  // Sequentially consistent: of two threads that note the same processor at once, one sees the other. That both move
  // away is possible and harmless.
  processors_[size_t(thread)].store(here);
  bool shared = false;
  for (int i = 0; i < threads_; ++i)
    shared = shared || (i != thread && processors_[size_t(i)].load() == here);
  if (!shared) return;

  cpu_set_t allowed, free;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  free = allowed;
  for (int i = 0; i < threads_; ++i) {
    const int taken = processor(i);
    if (taken >= 0 && taken < CPU_SETSIZE) CPU_CLR(taken, &free);
  }
  // The next one by number is the likeliest to share a cache.
  for (int step = 1; step < CPU_SETSIZE; ++step) {
    const int candidate = (here + step) % CPU_SETSIZE;
    if (!CPU_ISSET(candidate, &free)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(candidate, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) return;
    processors_[size_t(thread)].store(candidate);
    (void)sched_setaffinity(0, sizeof allowed, &allowed);
    return;
  }
#else
  (void)thread;
#endif
}

}  // namespace resnet::cpu
