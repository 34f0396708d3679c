// What the probe times. Each is the plainest kernel that reaches its ceiling: 16 bytes a thread and load, several in flight.
#pragma once

#include <cstdint>

#include "cuda/kernels/launch.h"

namespace resnet::cuda::probe {

constexpr int kThreads = 512;
constexpr int kInFlight = 4;
constexpr size_t kChunk = size_t(kThreads) * kInFlight;  // vectors that a block takes at once

#ifdef __CUDACC__
// Past L1, which is not what is measured.
__device__ __forceinline__ uint4 loadPastL1(const uint4* from) { return __ldcg(from); }
#else
inline uint4 loadPastL1(const uint4* from) { return *from; }
#endif

__device__ __forceinline__ unsigned mixed(unsigned x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}

// to[i] = numbers without a pattern: zeros would be compressed, and take less power.
__global__ void __launch_bounds__(kThreads) fillKernel(uint4* to, size_t count) {
  for (size_t i = size_t(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += size_t(gridDim.x) * kThreads) {
    const unsigned x = mixed(unsigned(i) * 4u + 1u);
    to[i] = {x, mixed(x), mixed(x + 1u), mixed(x + 2u)};
  }
}

// Reads `count` vectors (a multiple of kChunk) `passes` times; no block has the same chunks in two passes.
__global__ void __launch_bounds__(kThreads)
    readKernel(const uint4* from, size_t count, int passes, unsigned* sink) {
  unsigned sum = 0;
  for (int pass = 0; pass < passes; ++pass) {
    const size_t first = (blockIdx.x + size_t(pass) * 61) % gridDim.x;
    for (size_t chunk = first; chunk * kChunk < count; chunk += gridDim.x) {
      const uint4* const at = from + chunk * kChunk + threadIdx.x;
      uint4 x[kInFlight];
      RESNET_UNROLL
      for (int i = 0; i < kInFlight; ++i) x[i] = loadPastL1(at + i * kThreads);
      RESNET_UNROLL
      for (int i = 0; i < kInFlight; ++i) sum ^= x[i].x ^ x[i].y ^ x[i].z ^ x[i].w;
    }
  }
  // Nearly never, but the compiler cannot know.
  if (sum == 0x9E3779B9u) *sink = sum;
}

__global__ void __launch_bounds__(kThreads) copyKernel(uint4* to, const uint4* from, size_t count) {
  for (size_t chunk = blockIdx.x; chunk * kChunk < count; chunk += gridDim.x) {
    const size_t at = chunk * kChunk + threadIdx.x;
    uint4 x[kInFlight];
    RESNET_UNROLL
    for (int i = 0; i < kInFlight; ++i) x[i] = loadPastL1(from + at + i * kThreads);
    RESNET_UNROLL
    for (int i = 0; i < kInFlight; ++i) to[at + i * kThreads] = x[i];
  }
}

constexpr int kLinkThreads = 128;

// A link of a chain: x = x * 1.0001 + 1 of what the link before has left. kEarly: the next link may start as soon as every
// block of this one runs, and waits itself before it reads (programmatic dependent launch, sm_90 and newer).
template <bool kEarly>
__global__ void __launch_bounds__(kLinkThreads) linkKernel(float* x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if constexpr (kEarly) {
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
  }
#endif
  float* const at = x + blockIdx.x * kLinkThreads + threadIdx.x;
  *at = *at * 1.0001f + 1.0f;
}

}  // namespace resnet::cuda::probe
