// What is alive in the process, for tests and stats(): the one place where glue counts.
#pragma once

#include <atomic>

namespace resnet::glue {

struct LiveCounts {
  std::atomic<int> poolUsers{0};  // environments that hold the thread pool
  std::atomic<int> checkpoints{0}, weights{0}, programs{0}, lanes{0}, devices{0}, deviceMemories{0},
      pictures{0}, runsInFlight{0};
};
inline LiveCounts liveCounts;

// A member of what is counted: copying and destroying keep the count right.
template <std::atomic<int> LiveCounts::* counter>
class Counted {
 public:
  Counted() { ++(liveCounts.*counter); }
  Counted(const Counted&) : Counted() {}
  Counted& operator=(const Counted&) = default;
  ~Counted() { --(liveCounts.*counter); }
};

}  // namespace resnet::glue
