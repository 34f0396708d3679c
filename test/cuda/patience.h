// When a wait is a hang. By the clock alone a busy machine hangs: a network takes a second of a processor,
// and may wait a minute for it.
#pragma once

#include <time.h>

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace resnet::test {

inline double processorSeconds() {
  timespec used = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return double(used.tv_sec) + double(used.tv_nsec) * 1e-9;
}

// Waits until `arrived`. False for a hang: in `idle` this process has computed for less than half a
// second, as one that waits for itself does and one that waits for a processor does not; or it has
// computed for ten minutes and nothing came.
template <typename Predicate>
bool waitPatiently(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
                   const Predicate& arrived, std::chrono::minutes idle = std::chrono::minutes(1)) {
  constexpr double kIdle = 0.5, kEndless = 600;
  const double begun = processorSeconds();
  for (double before = begun;;) {
    if (changed.wait_for(lock, idle, arrived)) return true;
    const double now = processorSeconds();
    if (now - before < kIdle || now - begun > kEndless) return false;
    before = now;
  }
}

}  // namespace resnet::test
