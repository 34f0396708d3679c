// y[n,c] = exp(x[n,c] - max) / sum over c of exp(x[n,c] - max)
// x, y [N,C] with pitch, one dtype; in float32. A NaN, or +inf, or nothing but -inf in a row makes all
// of that row NaN, as in PyTorch. y may be x.
// One block takes one row; it reads the row three times, the last two from L1 or L2.
// bound: latency; memory is 2*N*C*bytes.
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/kernels.h"

namespace resnet::cuda {

namespace {

struct Larger {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};

// The same result in every thread; `partial` holds one float for each warp, and may be used again
// once all threads have returned.
template <typename Combine>
__device__ float overBlock(float x, float* partial, Combine combine) {
  for (int apart = 16; apart > 0; apart /= 2) {
    x = combine(x, __shfl_xor_sync(kAllLanes, x, apart));
  }
  const int thread = threadIdx.x;
  if (thread % 32 == 0) partial[thread / 32] = x;
  __syncthreads();
  x = partial[0];
  for (int warp = 1; warp < int(blockDim.x / 32); ++warp) x = combine(x, partial[warp]);
  return x;
}

template <typename T>
__global__ void __launch_bounds__(kMaxThreads) softmaxKernel(View from, View to, int written) {
  RESNET_SHARED(float, maxima, kMaxThreads / 32);
  RESNET_SHARED(float, sums, kMaxThreads / 32);
  const T* const x = elementsOf<T>(from) + size_t(blockIdx.x) * from.pitch;
  T* const y = elementsOf<T>(to) + size_t(blockIdx.x) * to.pitch;
  const int first = threadIdx.x, step = blockDim.x;
  float largest = -HUGE_VALF;
  for (int c = first; c < to.c; c += step) largest = fmaxf(largest, toFloat(x[c]));
  largest = overBlock(largest, maxima, Larger());
  float sum = 0;
  for (int c = first; c < to.c; c += step) sum += expf(toFloat(x[c]) - largest);
  sum = overBlock(sum, sums, Sum());
  for (int c = first; c < written; c += step) {
    y[c] = fromFloat<T>(c < to.c ? expf(toFloat(x[c]) - largest) / sum : 0.0f);
  }
}

}  // namespace

cudaError_t softmax(View from, View to, cudaStream_t stream) {
  return forViews(
      [&](auto element, auto) {
        const PerImage shape(writtenChannels(to), 1);
        return launch(softmaxKernel<decltype(element)>, dim3(unsigned(to.n)), shape.block, 0,
                      stream, from, to, writtenChannels(to));
      },
      from, to);
}

}  // namespace resnet::cuda
