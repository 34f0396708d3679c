// The engine for one convolution: from the cache, else the winner of a race, else the first in the
// named order of preference (CudnnContext::engines).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda/cudnn/convolution.h"
#include "cuda/cudnn/engine_cache.h"
#include "cuda/cudnn/race.h"

namespace resnet::cuda {

struct ChooseOptions {
  Autotune autotune = Autotune::kQuick;
  bool deterministic = false;  // implies kOff: a race may end differently
  bool graphs = true;
  size_t workspaceLimit = size_t{256} << 20;
  const EngineCache* cache = nullptr;  // null: none
  AllocateDevice allocate;             // for the race; empty implies kOff
  const Control* control = nullptr;
};

struct EngineChoice {
  std::shared_ptr<const ConvolutionEngine> engine;
  std::string name;         // of the engine; one that was loaded does not know it itself
  double milliseconds = 0;  // of one run in the race, perhaps an earlier process's; 0: unmeasured
  bool cached = false;
  // "eng3_k24=1: wants a workspace of ..." and "eng48_k2=5: 0.1234 ms".
  std::vector<std::string> refused;
};

// Blocks; races on `stream`. Errors as CudnnContext::engines() and race().
Result<EngineChoice> chooseEngine(CudnnContext& context, const ConvolutionShape& shape,
                                  cudaStream_t stream, const ChooseOptions& options);

}  // namespace resnet::cuda
