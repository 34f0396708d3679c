// What the kernels share: elements as float32, eight channels at a time, and which thread does which.
//
// A kernel on maps gives one thread V channels of one pixel of one image: V = 8, moved as one
// (float32: two) 16-byte access, where every value begins on 16 bytes and has a pitch of a multiple
// of 8; otherwise V = 1. An image has fewer than 2^31 elements, a batch may have more.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "cuda/kernels/kernels.h"
#include "cuda/kernels/launch.h"
#include "cuda/value.h"

namespace resnet::cuda {

constexpr int kVector = 8;
constexpr int kMaxThreads = 256;
// For kernels that the assembler would squeeze into fewer registers than they need: 64 are left then.
constexpr int kMinBlocks = 4;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

__device__ __forceinline__ float toFloat(float x) { return x; }
__device__ __forceinline__ float toFloat(__half x) { return __half2float(x); }
__device__ __forceinline__ float toFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float toFloat(uint8_t x) { return float(x); }

// Rounds to nearest even; float16 beyond its range becomes infinite.
template <typename T>
__device__ __forceinline__ T fromFloat(float x) {
  if constexpr (sizeof(T) == 4) {
    return x;
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half_rn(x);
  } else {
    return __float2bfloat16_rn(x);
  }
}

template <typename T, int V>
struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Elements {
  T at[V];
};

template <typename T, int V>
__device__ __forceinline__ void loadChannels(const T* from, float (&x)[V]) {
  const auto raw = *reinterpret_cast<const Elements<T, V>*>(from);
  RESNET_UNROLL
  for (int i = 0; i < V; ++i) x[i] = toFloat(raw.at[i]);
}

// x are channels `channel`... of a pixel at `to`, whose channels from c to `written` become zero and
// whose others are left alone.
template <typename T, int V>
__device__ __forceinline__ void storeChannels(T* to, int channel, int c, int written,
                                              const float (&x)[V]) {
  Elements<T, V> raw;
  RESNET_UNROLL
  for (int i = 0; i < V; ++i) raw.at[i] = fromFloat<T>(channel + i < c ? x[i] : 0.0f);
  if (channel + V <= written) {
    *reinterpret_cast<Elements<T, V>*>(to + channel) = raw;
    return;
  }
  RESNET_UNROLL
  for (int i = 0; i < V; ++i) {
    if (channel + i < written) to[channel + i] = raw.at[i];
  }
}

// A pixel's level, 0 to 255, as the network takes it; without mean or std 0 and 1.
__device__ __forceinline__ float normalised(float level, const float* mean, const float* std,
                                            int c) {
  return (level / 255.0f - (mean ? mean[c] : 0.0f)) / (std ? std[c] : 1.0f);
}

// NaN stays NaN, as in PyTorch.
__device__ __forceinline__ float rectified(float x) { return x < 0 ? 0.0f : x; }

template <typename T>
__host__ __device__ __forceinline__ T* elementsOf(const View& view) {
  return static_cast<T*>(view.data);
}

// How many channels of a pixel a kernel writes: all of the pitch where what lies beyond c is padding;
// c alone in a slice of a wider buffer.
inline int writtenChannels(const View& view) {
  return view.pitch <= paddedChannels(view.c) ? view.pitch : view.c;
}

template <typename... Views>
bool vectorised(const Views&... views) {
  return (... && (reinterpret_cast<uintptr_t>(views.data) % 16 == 0 && views.pitch % kVector == 0));
}

// One thread for each of `items` of an image, in blocks along x; images along y and, beyond the
// device's limit, in a loop.
struct PerImage {
  dim3 grid, block;
  PerImage(int64_t items, int images, int threads = kMaxThreads) {
    const int needed = int(items < threads ? (items + 31) / 32 * 32 : threads);
    block = dim3(unsigned(needed));
    grid = dim3(unsigned((items + needed - 1) / needed), unsigned(images < 65535 ? images : 65535));
  }
};
// A block's images of n: the first for the place of the block, then every so many until beyond either end, which
// unsigned(image) < unsigned(n) tells.
__device__ __forceinline__ int imageAt(int place, int n, ImageOrder order) {
  return order == ImageOrder::kReverse ? n - 1 - place : place;
}
__device__ __forceinline__ int imageStep(int blocks, ImageOrder order) {
  return order == ImageOrder::kReverse ? -blocks : blocks;
}
__device__ __forceinline__ unsigned itemIndex() { return blockIdx.x * blockDim.x + threadIdx.x; }

inline int64_t pixelsOf(const View& view) { return int64_t(view.h) * view.w; }
inline int groupsOf(const View& view, int v) { return (writtenChannels(view) + v - 1) / v; }

// call(T(), V) for the element type and the width of `view` and `others`; all have one type.
template <int V>
struct Width {
  static constexpr int value = V;
};
template <typename Call>
cudaError_t forElement(DType dtype, Call call) {
  switch (dtype) {
    case DType::kFloat32:
      return call(float());
    case DType::kFloat16:
      return call(__half());
    case DType::kBFloat16:
      return call(__nv_bfloat16());
    default:
      return cudaErrorInvalidValue;
  }
}
template <typename Call, typename... Views>
cudaError_t forViews(Call call, const View& view, const Views&... others) {
  if (view.n <= 0) return view.n == 0 ? cudaSuccess : cudaErrorInvalidValue;
  if (!(... && (others.dtype == view.dtype && others.n == view.n))) return cudaErrorInvalidValue;
  return forElement(view.dtype, [&](auto element) {
    return vectorised(view, others...) ? call(element, Width<kVector>())
                                       : call(element, Width<1>());
  });
}

}  // namespace resnet::cuda
