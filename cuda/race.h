// The engines of one convolution timed against each other on the device.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda/cudnn/convolution.h"
#include "cuda/device.h"

namespace resnet::cuda {

struct RaceResult {
  size_t best = 0;
  double milliseconds = 0;           // of the best: the median of its repetitions
  std::vector<std::string> refused;  // beaten ones with their times, failed ones with their errors
};

// The first engine, without a time, when there is no memory to race in. An engine that fails leaves
// the race; kUnsupported when none is left. Buffers rotate, so that a layer is not timed from the
// cache that its own last run filled.
Result<RaceResult> raceEngines(Device& device, const ConvolutionShape& shape,
                               const std::vector<std::shared_ptr<const ConvolutionEngine>>& engines,
                               Autotune effort, const Control& control);

}  // namespace resnet::cuda
