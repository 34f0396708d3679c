// How a kernel is launched: by CUDA, or, where the same file is compiled by a host compiler for the
// proofs without a device, by the emulator. No kernel uses <<<>>> itself.
#pragma once

#include <cuda_runtime.h>

#ifdef __CUDACC__

namespace resnet::cuda {

template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes,
                   cudaStream_t stream, Arguments... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = sharedBytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

}  // namespace resnet::cuda

#else
#include "cuda/emulated/simt.h"  // defines launch() with the same signature, and CUDA's built-ins
#endif
