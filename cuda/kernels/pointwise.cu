// y = act(x * scale + shift)    affine; scale, shift [C] float32
// y = act(a + b)                add
// y = max(x, 0), NaN stays      relu
// x, a, b, y [N,H,W,C] NHWC with pitch; in float32, rounded once.
// needs: one dtype; y may be x, a or b. Padding of y becomes zero whatever that of x is.
// bound: memory, each element read once and written once: 2 (add: 3) * N*H*W*C * bytes.
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/kernels.h"

namespace resnet::cuda {

namespace {

template <typename T, int V>
__global__ void __launch_bounds__(kMaxThreads)
    affineKernel(View from, View to, const float* scale, const float* shift, bool relu, int groups,
                 int written) {
  const unsigned item = itemIndex(), pixels = unsigned(to.h * to.w);
  if (item >= pixels * groups) return;
  const unsigned pixel = item / groups;
  const int channel = int(item % groups) * V;
  float a[V], b[V];
  RESNET_UNROLL
  for (int i = 0; i < V; ++i) {
    const bool real = channel + i < to.c;
    a[i] = real ? scale[channel + i] : 0.0f;
    b[i] = real ? shift[channel + i] : 0.0f;
  }
  for (int n = blockIdx.y; n < to.n; n += gridDim.y) {
    const size_t at = size_t(n) * pixels + pixel;
    float x[V];
    loadChannels<T, V>(elementsOf<T>(from) + at * from.pitch + channel, x);
    RESNET_UNROLL
    for (int i = 0; i < V; ++i) {
      x[i] = fmaf(x[i], a[i], b[i]);
      if (relu) x[i] = rectified(x[i]);
    }
    storeChannels<T, V>(elementsOf<T>(to) + at * to.pitch, channel, to.c, written, x);
  }
}

template <typename T, int V, bool kHasB>
__global__ void __launch_bounds__(kMaxThreads)
    addKernel(View from, View b, View to, bool relu, int groups, int written) {
  const unsigned item = itemIndex(), pixels = unsigned(to.h * to.w);
  if (item >= pixels * groups) return;
  const unsigned pixel = item / groups;
  const int channel = int(item % groups) * V;
  for (int n = blockIdx.y; n < to.n; n += gridDim.y) {
    const size_t at = size_t(n) * pixels + pixel;
    float x[V];
    loadChannels<T, V>(elementsOf<T>(from) + at * from.pitch + channel, x);
    if constexpr (kHasB) {
      float y[V];
      loadChannels<T, V>(elementsOf<T>(b) + at * b.pitch + channel, y);
      RESNET_UNROLL
      for (int i = 0; i < V; ++i) x[i] += y[i];
    }
    if (relu) {
      RESNET_UNROLL
      for (int i = 0; i < V; ++i) x[i] = rectified(x[i]);
    }
    storeChannels<T, V>(elementsOf<T>(to) + at * to.pitch, channel, to.c, written, x);
  }
}

}  // namespace

cudaError_t affine(View from, View to, const float* scale, const float* shift, bool relu,
                   cudaStream_t stream) {
  return forViews(
      [&](auto element, auto width) {
        constexpr int V = decltype(width)::value;
        const int groups = groupsOf(to, V);
        const PerImage shape(pixelsOf(to) * groups, to.n);
        return launch(affineKernel<decltype(element), V>, shape.grid, shape.block, 0, stream, from,
                      to, scale, shift, relu, groups, writtenChannels(to));
      },
      from, to);
}

cudaError_t add(View a, View b, View to, bool relu, cudaStream_t stream) {
  return forViews(
      [&](auto element, auto width) {
        constexpr int V = decltype(width)::value;
        const int groups = groupsOf(to, V);
        const PerImage shape(pixelsOf(to) * groups, to.n);
        return launch(addKernel<decltype(element), V, true>, shape.grid, shape.block, 0, stream, a,
                      b, to, relu, groups, writtenChannels(to));
      },
      a, b, to);
}

cudaError_t relu(View from, View to, cudaStream_t stream) {
  return forViews(
      [&](auto element, auto width) {
        constexpr int V = decltype(width)::value;
        const int groups = groupsOf(to, V);
        const PerImage shape(pixelsOf(to) * groups, to.n);
        return launch(addKernel<decltype(element), V, false>, shape.grid, shape.block, 0, stream,
                      from, View(), to, true, groups, writtenChannels(to));
      },
      from, to);
}

}  // namespace resnet::cuda
