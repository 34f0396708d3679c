// Times of pieces of work beside each other on the device, as they will run.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/control.h"
#include "cuda/owners.h"

namespace resnet::cuda {

struct Heat {
  std::function<Status()> enqueue;  // onto the stopwatch's stream, joined there when it forks
  double milliseconds = 0;          // of one run; 0: not timed
  std::string refused;              // why not
  Code failure = Code::kOk;         // the same as a code

  int runs = 1;  // between two events
  GraphExecutable graph;
};

struct StopwatchOptions {
  cudaStream_t stream = nullptr;
  cudaStream_t second = nullptr;  // that a heat may fork onto
  bool graphs = true;             // as captured graphs
  int rounds = 3;
  const Control* control = nullptr;
};

// Runs every heat once, then all in rounds, so that a clock that falls as the chip warms up falls for all;
// the shortest time counts, since everything that disturbs a timing makes it longer. What fails is
// refused and gets no time. kDeviceLost and kAborted end it.
Status timeHeats(std::vector<Heat>& heats, const StopwatchOptions& options);

}  // namespace resnet::cuda
