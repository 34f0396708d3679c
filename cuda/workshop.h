// What compiling a program takes along: the cache of engines on disk, memory for races under the cap, a
// stream to race on.
#pragma once

#include <optional>

#include "cuda/cudnn/choose.h"
#include "cuda/device.h"

namespace resnet::cuda {

// What engines that are kept on disk are valid for. Asks driver and cuDNN.
Result<EngineEnvironment> engineEnvironment(const DeviceInfo& device);

struct Workshop {
  std::optional<EngineCache> cache;
  ChooseOptions choose;
  Stream stream;

  // Whether anything may be decided by time.
  bool measures() const { return choose.autotune != Autotune::kOff && !choose.deterministic; }

  Status open(Device& device, const CompileOptions& options, const Control& control);
};

}  // namespace resnet::cuda
