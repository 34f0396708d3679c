// Engines against each other on the device: the only way to know which one is fast. Our own loop,
// because the frontend's mixes up indices and lets failed plans win.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"
#include "cuda/cudnn/convolution.h"

namespace resnet::cuda {

// Device memory, freed with the last owner. A race takes what it needs once, and gives it back.
using AllocateDevice = std::function<Result<std::shared_ptr<void>>(size_t bytes)>;

struct RaceOptions {
  Autotune effort = Autotune::kQuick;  // kOff is for those who do not race
  bool graphs = true;                  // timed as captured graphs, the way they will run
  const Control* control = nullptr;    // null: never stops
};

// Of one engine, in the order of the entrants.
struct Finish {
  double milliseconds = 0;  // of one run; 0: not timed
  std::string refused;      // why it left the race; empty when it finished
};
struct Standings {
  size_t best = 0;
  std::vector<Finish> finishes;
};

// Runs every engine on `stream` and waits. Buffers rotate: the sets together are larger than the L2
// cache, so that no run finds its operands there because the last one left them. An engine that fails leaves the race and gets no time; a
// time that two engines share goes to the earlier. kUnsupported: none finished; kDeviceLost: the device
// was lost, by whichever engine; kAborted: control said so.
Result<Standings> race(const ConvolutionShape& shape,
                       const std::vector<std::shared_ptr<const ConvolutionEngine>>& engines,
                       const AllocateDevice& allocate, cudaStream_t stream,
                       const RaceOptions& options);

}  // namespace resnet::cuda
