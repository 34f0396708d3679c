// input:  the caller's dense [N,C,H,W] or [N,H,W,C], a float type or uint8, to a value [N,H,W,C] NHWC with
//         pitch; uint8 becomes (x / 255 - mean[c]) / std[c], in float32, rounded once.
// output: a value to the caller's dense float32; int32 is copied as it is.
// A thread takes V channels of one pixel. Neighbouring threads take neighbouring pixels where the
// caller's memory is planar, otherwise neighbouring channels, so that the caller's side, and for few
// channels both, are coalesced. A map of one pixel is the same in both layouts.
// bound: memory, each element read once and written once.
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/kernels.h"

namespace resnet::cuda {

namespace {

struct Place {
  unsigned pixel;
  int channel;
};
template <int V, bool kPlanar>
__device__ __forceinline__ Place placeOf(unsigned item, unsigned pixels, unsigned groups) {
  if constexpr (kPlanar) return {item % pixels, int(item / pixels) * V};
  return {item / groups, int(item % groups) * V};
}

// Where an image's channel of a pixel lies in the caller's memory.
template <bool kPlanar>
__device__ __forceinline__ size_t denseAt(unsigned pixel, int channel, unsigned pixels, int c) {
  return kPlanar ? size_t(channel) * pixels + pixel : size_t(pixel) * c + channel;
}

template <typename S, typename T, int V, bool kPlanar>
__global__ void __launch_bounds__(kMaxThreads, kMinBlocks)
    inputKernel(const S* source, const float* mean, const float* std, View to, int groups,
                int written, ImageOrder order) {
  const unsigned item = itemIndex(), pixels = unsigned(to.h * to.w);
  if (item >= pixels * groups) return;
  const auto [pixel, channel] = placeOf<V, kPlanar>(item, pixels, groups);
  const int step = imageStep(gridDim.y, order);
  for (int n = imageAt(blockIdx.y, to.n, order); unsigned(n) < unsigned(to.n); n += step) {
    const S* image = source + size_t(n) * pixels * to.c;
    float x[V];
    RESNET_UNROLL
    for (int i = 0; i < V; ++i) {
      const int c = channel + i;
      x[i] = 0;
      if (c >= to.c) continue;
      x[i] = toFloat(image[denseAt<kPlanar>(pixel, c, pixels, to.c)]);
      if constexpr (sizeof(S) == 1) {
        x[i] = normalised(x[i], mean, std, c);
      }
    }
    T* const y = elementsOf<T>(to) + (size_t(n) * pixels + pixel) * to.pitch;
    storeChannels<T, V>(y, channel, to.c, written, x);
  }
}

template <typename T, typename D, int V, bool kPlanar>
__global__ void __launch_bounds__(kMaxThreads)
    outputKernel(View from, D* destination, int groups, ImageOrder order) {
  const unsigned item = itemIndex(), pixels = unsigned(from.h * from.w);
  if (item >= pixels * groups) return;
  const auto [pixel, channel] = placeOf<V, kPlanar>(item, pixels, groups);
  const int step = imageStep(gridDim.y, order);
  for (int n = imageAt(blockIdx.y, from.n, order); unsigned(n) < unsigned(from.n); n += step) {
    const T* x = elementsOf<T>(from) + (size_t(n) * pixels + pixel) * from.pitch + channel;
    const auto raw = *reinterpret_cast<const Elements<T, V>*>(x);
    D* const image = destination + size_t(n) * pixels * from.c;
    RESNET_UNROLL
    for (int i = 0; i < V; ++i) {
      const int c = channel + i;
      if (c >= from.c) continue;
      D value;
      if constexpr (std::is_same_v<T, D>) {
        value = raw.at[i];
      } else {
        value = toFloat(raw.at[i]);
      }
      image[denseAt<kPlanar>(pixel, c, pixels, from.c)] = value;
    }
  }
}

template <typename S>
cudaError_t inputOf(const InputArguments& a, cudaStream_t stream) {
  return forViews(
      [&](auto element, auto width) {
        using T = decltype(element);
        constexpr int V = decltype(width)::value;
        const int groups = groupsOf(a.to, V);
        const PerImage shape(pixelsOf(a.to) * groups, a.to.n);
        const bool planar = !a.nhwc && pixelsOf(a.to) > 1;
        return launch(planar ? inputKernel<S, T, V, true> : inputKernel<S, T, V, false>, shape.grid,
                      shape.block, 0, stream, static_cast<const S*>(a.source), a.mean, a.std, a.to,
                      groups, writtenChannels(a.to), a.order);
      },
      a.to, a.to);
}

template <typename T, typename D, int V>
cudaError_t outputOf(const OutputArguments& a, cudaStream_t stream) {
  const int groups = (a.from.c + V - 1) / V;
  const PerImage shape(pixelsOf(a.from) * groups, a.from.n);
  const bool planar = !a.nhwc && pixelsOf(a.from) > 1;
  return launch(planar ? outputKernel<T, D, V, true> : outputKernel<T, D, V, false>, shape.grid,
                shape.block, 0, stream, a.from, static_cast<D*>(a.destination), groups, a.order);
}

}  // namespace

cudaError_t input(const InputArguments& arguments, cudaStream_t stream) {
  switch (arguments.sourceType) {
    case DType::kFloat32:
      return inputOf<float>(arguments, stream);
    case DType::kFloat16:
      return inputOf<__half>(arguments, stream);
    case DType::kBFloat16:
      return inputOf<__nv_bfloat16>(arguments, stream);
    case DType::kUint8:
      return inputOf<uint8_t>(arguments, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

cudaError_t output(const OutputArguments& arguments, cudaStream_t stream) {
  if (arguments.from.dtype == DType::kInt32) {
    if (arguments.from.n == 0) return cudaSuccess;
    return vectorised(arguments.from) ? outputOf<int, int, kVector>(arguments, stream)
                                      : outputOf<int, int, 1>(arguments, stream);
  }
  return forViews(
      [&](auto element, auto width) {
        return outputOf<decltype(element), float, decltype(width)::value>(arguments, stream);
      },
      arguments.from, arguments.from);
}

}  // namespace resnet::cuda
