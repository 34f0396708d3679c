// maxPool: y[n,p,q,c] = max of the window's taps inside the map; NaN wins; -inf where none is inside.
// avgPool: y[n,p,q,c] = sum of the taps inside / taps inside the map (countIncludePad: inside the
//          padded map; ceil mode's overhang beyond the padding never counts). Sums in float32.
// tap (r, s) of output (p, q) is x[p*strideH - padH + r*dilationH, q*strideW - padW + s*dilationW].
// x [N,H,W,C], y [N,P,Q,C] NHWC with pitch, one dtype; y is not x. P and Q are to's own.
// bound: memory, x read once and y written once (taps that windows share come from L1 and L2):
// (N*H*W*C + N*P*Q*C) * bytes.
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/kernels.h"

namespace resnet::cuda {

namespace {

// kColumns taps of a row are in flight at once; kernelW is a multiple of it.
template <typename T, int V, bool kMax, int kColumns>
__global__ void __launch_bounds__(kMaxThreads, kMinBlocks)
    poolKernel(PoolArguments a, int groups, int written) {
  const unsigned item = itemIndex(), pixels = unsigned(a.to.h * a.to.w);
  if (item >= pixels * groups) return;
  const unsigned pixel = item / groups;
  const int channel = int(item % groups) * V;
  const int top = int(pixel / a.to.w) * a.strideH - a.padH;
  const int left = int(pixel % a.to.w) * a.strideW - a.padW;

  float divisor = 0;
  if constexpr (!kMax) {
    int rows = 0, columns = 0;
    for (int r = 0; r < a.kernelH; ++r) {
      const int y = top + r * a.dilationH;
      rows += a.countIncludePad ? y < a.from.h + a.padH : y >= 0 && y < a.from.h;
    }
    for (int s = 0; s < a.kernelW; ++s) {
      const int x = left + s * a.dilationW;
      columns += a.countIncludePad ? x < a.from.w + a.padW : x >= 0 && x < a.from.w;
    }
    divisor = float(rows * columns);
  }

  const int step = imageStep(gridDim.y, a.order);
  for (int n = imageAt(blockIdx.y, a.to.n, a.order); unsigned(n) < unsigned(a.to.n); n += step) {
    const T* image =
        elementsOf<T>(a.from) + size_t(n) * a.from.h * a.from.w * a.from.pitch + channel;
    float best[V];
    RESNET_UNROLL
    for (int i = 0; i < V; ++i) best[i] = kMax ? -HUGE_VALF : 0.0f;
    for (int r = 0; r < a.kernelH; ++r) {
      const int y = top + r * a.dilationH;
      if (y < 0 || y >= a.from.h) continue;
      const T* const row = image + size_t(y) * a.from.w * a.from.pitch;
      for (int s = 0; s < a.kernelW; s += kColumns) {
        float taps[kColumns][V];
        RESNET_UNROLL
        for (int t = 0; t < kColumns; ++t) {
          const int x = left + (s + t) * a.dilationW;
          if (x >= 0 && x < a.from.w) {
            loadChannels<T, V>(row + size_t(x) * a.from.pitch, taps[t]);
          } else {
            RESNET_UNROLL
            for (int i = 0; i < V; ++i) taps[t][i] = kMax ? -HUGE_VALF : 0.0f;
          }
        }
        RESNET_UNROLL
        for (int t = 0; t < kColumns; ++t) {
          RESNET_UNROLL
          for (int i = 0; i < V; ++i) {
            const float tap = taps[t][i];
            if constexpr (kMax) {
              best[i] = tap > best[i] || tap != tap ? tap : best[i];
            } else {
              best[i] += tap;
            }
          }
        }
      }
    }
    if constexpr (!kMax) {
      RESNET_UNROLL
      for (int i = 0; i < V; ++i) best[i] /= divisor;
    }
    T* const to = elementsOf<T>(a.to) + (size_t(n) * pixels + pixel) * a.to.pitch;
    storeChannels<T, V>(to, channel, a.to.c, written, best);
  }
}

template <bool kMax>
cudaError_t pool(const PoolArguments& a, cudaStream_t stream) {
  return forViews(
      [&](auto element, auto width) {
        constexpr int V = decltype(width)::value;
        const int groups = groupsOf(a.to, V);
        const PerImage shape(pixelsOf(a.to) * groups, a.to.n);
        using T = decltype(element);
        auto* kernel = poolKernel<T, V, kMax, 1>;
        if constexpr (kMax) {
          if (a.kernelW == 3) kernel = poolKernel<T, V, kMax, 3>;
        }
        return launch(kernel, shape.grid, shape.block, 0, stream, a, groups, writtenChannels(a.to));
      },
      a.from, a.to);
}

}  // namespace

cudaError_t maxPool(const PoolArguments& arguments, cudaStream_t stream) {
  return pool<true>(arguments, stream);
}

cudaError_t avgPool(const PoolArguments& arguments, cudaStream_t stream) {
  return pool<false>(arguments, stream);
}

}  // namespace resnet::cuda
