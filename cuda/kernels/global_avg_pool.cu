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
    globalAvgPoolKernel(View from, View to, int groups, int written, int blocksPerImage,
                        ImageOrder order) {
  RESNET_SHARED(float, partial, kWarps * kGroups * V);
  const int thread = threadIdx.x, block = blockIdx.x;
  const int column = thread % kGroups, row = thread / kGroups, warp = thread / 32;
  const int n = imageAt(block / blocksPerImage, to.n, order);
  const int group = block % blocksPerImage * kGroups + column;
  const int channel = group * V, pixels = from.h * from.w;
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
  if (thread % 32 < kGroups) {
    RESNET_UNROLL
    for (int i = 0; i < V; ++i) partial[(warp * kGroups + column) * V + i] = sum[i];
  }
  __syncthreads();
  if (thread >= kGroups || group >= groups) return;
  RESNET_UNROLL
  for (int i = 0; i < V; ++i) {
    float total = 0;
    RESNET_UNROLL
    for (int other = 0; other < kWarps; ++other) {
      total += partial[(other * kGroups + column) * V + i];
    }
    sum[i] = total / float(pixels);
  }
  storeChannels<T, V>(elementsOf<T>(to) + size_t(n) * to.pitch, channel, to.c, written, sum);
}

}  // namespace

cudaError_t globalAvgPool(View from, View to, ImageOrder order, cudaStream_t stream) {
  return forViews(
      [&](auto element, auto width) {
        constexpr int V = decltype(width)::value;
        const int groups = groupsOf(to, V);
        const int blocks = (groups + kGroups - 1) / kGroups;
        return launch(globalAvgPoolKernel<decltype(element), V>, dim3(unsigned(blocks) * to.n),
                      dim3(kGroups * kRows), 0, stream, from, to, groups, writtenChannels(to),
                      blocks, order);
      },
      from, to);
}

}  // namespace resnet::cuda
