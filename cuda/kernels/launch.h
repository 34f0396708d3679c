// How a kernel is launched: by CUDA, or, where the same file is compiled by a host compiler for the
// proofs without a device, by the emulator. No kernel uses <<<>>> itself, nor `extern __shared__`.
#pragma once

#include <cuda_runtime.h>

#ifdef __CUDACC__

#define RESNET_UNROLL _Pragma("unroll")
// Shared memory of a fixed size, and that whose size the launch gives; `name` points to `type`.
#define RESNET_SHARED(type, name, count) __shared__ type name[count]
#define RESNET_SHARED_DYNAMIC(type, name)                         \
  extern __shared__ __align__(16) unsigned char resnetDynamic_[]; \
  type* const name = reinterpret_cast<type*>(resnetDynamic_)

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
