// to[k,r,s,c] = weight[k,r,s,c] * scale[k] for the k < K and c < C that are real, otherwise 0
// weight [K][R][S][C] float32 dense, scale [K] float32 or null (1); to [K'][R][S][C'] with K' >= K and
// C' >= C as n, h, w, pitch, in to's dtype; the product in float32, rounded once.
// bound: memory, once a model.
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/kernels.h"

namespace resnet::cuda {

namespace {

template <typename T>
__global__ void __launch_bounds__(kMaxThreads)
    packWeightsKernel(const float* weight, const float* scale, int k, int c, View to) {
  const unsigned item = itemIndex(), taps = unsigned(to.h * to.w);
  if (item >= taps * to.pitch) return;
  const unsigned tap = item / to.pitch;
  const int channel = int(item % to.pitch);
  for (int n = blockIdx.y; n < to.n; n += gridDim.y) {
    float x = 0;
    if (n < k && channel < c) {
      x = weight[(size_t(n) * taps + tap) * c + channel] * (scale ? scale[n] : 1.0f);
    }
    elementsOf<T>(to)[size_t(n) * taps * to.pitch + item] = fromFloat<T>(x);
  }
}

}  // namespace

cudaError_t packWeights(const PackArguments& a, cudaStream_t stream) {
  if (a.k > a.to.n || a.c > a.to.pitch) return cudaErrorInvalidValue;
  return forViews(
      [&](auto element, auto) {
        const PerImage shape(pixelsOf(a.to) * a.to.pitch, a.to.n);
        return launch(packWeightsKernel<decltype(element)>, shape.grid, shape.block, 0, stream,
                      a.weight, a.scale, a.k, a.c, a.to);
      },
      a.to, a.to);
}

}  // namespace resnet::cuda
