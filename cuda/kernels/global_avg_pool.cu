// y[n,c] = sum over h, w of x[n,h,w,c] / (H*W)
// x [N,H,W,C] NHWC with pitch, y [N,1,1,C], one dtype; sums in float32, in an order that depends on
// H*W alone. y is not x.
// A block takes 8 groups of V channels of one image; its 16 rows of 8 threads share out the pixels
// (one row reads 128 bytes of a pixel in 16-bit types), then meet by shuffles and shared memory.
// bound: memory, N*H*W*C * bytes.
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/kernels.h"

namespace resnet::cuda {

namespace {

constexpr int kGroups = 8, kRows = 16;
constexpr int kWarps = kGroups * kRows / 32;

template <typename T, int V>
__global__ void __launch_bounds__(kGroups* kRows)
    globalAvgPoolKernel(View from, View to, int groups, int written) {
  RESNET_SHARED(float, partial, kWarps * kGroups * V);
  const int column = threadIdx.x % kGroups, row = threadIdx.x / kGroups;
  const int group = blockIdx.x * kGroups + column, channel = group * V;
  const int pixels = from.h * from.w;
  for (int n = blockIdx.y; n < to.n; n += gridDim.y) {
    float sum[V] = {};
    if (group < groups) {
      const T* image = elementsOf<T>(from) + size_t(n) * pixels * from.pitch + channel;
      for (int pixel = row; pixel < pixels; pixel += kRows) {
        float x[V];
        loadChannels<T, V>(image + size_t(pixel) * from.pitch, x);
        RESNET_UNROLL
        for (int i = 0; i < V; ++i) sum[i] += x[i];
      }
    }
    RESNET_UNROLL
    for (int i = 0; i < V; ++i) {  // lanes of one column are kGroups apart
      sum[i] += __shfl_xor_sync(kAllLanes, sum[i], kGroups);
      sum[i] += __shfl_xor_sync(kAllLanes, sum[i], 2 * kGroups);
    }
    if (threadIdx.x % 32 < kGroups) {
      RESNET_UNROLL
      for (int i = 0; i < V; ++i) {
        partial[(threadIdx.x / 32 * kGroups + column) * V + i] = sum[i];
      }
    }
    __syncthreads();
    if (threadIdx.x < kGroups && group < groups) {
      RESNET_UNROLL
      for (int i = 0; i < V; ++i) {
        float total = 0;
        RESNET_UNROLL
        for (int warp = 0; warp < kWarps; ++warp) {
          total += partial[(warp * kGroups + column) * V + i];
        }
        sum[i] = total / float(pixels);
      }
      T* const y = elementsOf<T>(to) + size_t(n) * to.pitch;
      storeChannels<T, V>(y, channel, to.c, written, sum);
    }
    __syncthreads();  // before the next image's sums
  }
}

}  // namespace

cudaError_t globalAvgPool(View from, View to, cudaStream_t stream) {
  return forViews(
      [&](auto element, auto width) {
        constexpr int V = decltype(width)::value;
        const int groups = groupsOf(to, V);
        const dim3 grid(unsigned((groups + kGroups - 1) / kGroups),
                        unsigned(to.n < 65535 ? to.n : 65535));
        return launch(globalAvgPoolKernel<decltype(element), V>, grid, dim3(kGroups * kRows), 0,
                      stream, from, to, groups, writtenChannels(to));
      },
      from, to);
}

}  // namespace resnet::cuda
