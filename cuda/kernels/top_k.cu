// scores[n,i], indices[n,i] = the i-th largest of x[n,:] and where it is, i = 0..k-1: falling scores,
// ties by rising index, NaN above every number and equal among themselves, -0 equal to 0.
// x [N,C], scores [N,k] with pitch, one dtype; indices [N,k] int32 with pitch. Neither is x.
// A thread owns one element and counts how many stand before it: that is its place, and the sort is
// done without an exchange, for any k. A block takes 256 elements of one row and all the row passes
// through its shared memory. A key holds score and index so that one comparison decides.
// bound: compute, N*C*C comparisons of two instructions; C is 1,000 classes as a rule.
#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/kernels.h"

namespace resnet::cuda {

namespace {

// Larger is nearer the front; no two elements of a row have the same key.
__device__ __forceinline__ uint64_t keyOf(float x, int index) {
  unsigned bits = unsigned(__float_as_int(x == 0 ? 0.0f : x));
  bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  if (x != x) bits = 0xFFFFFFFFu;
  return uint64_t(bits) << 32 | unsigned(~index);
}

template <typename T>
__global__ void __launch_bounds__(kMaxThreads)
    topKKernel(View from, View scores, View indices, int k, int scoresWritten, int indicesWritten,
               int blocksPerRow) {
  RESNET_SHARED(uint64_t, tile, kMaxThreads);
  const int thread = threadIdx.x, threads = blockDim.x, block = blockIdx.x;
  const int n = block / blocksPerRow, own = block % blocksPerRow * threads + thread;
  const T* const x = elementsOf<T>(from) + size_t(n) * from.pitch;
  T* const score = elementsOf<T>(scores) + size_t(n) * scores.pitch;
  int* const index = elementsOf<int>(indices) + size_t(n) * indices.pitch;
  const uint64_t key = own < from.c ? keyOf(toFloat(x[own]), own) : 0;
  int place = 0;
  for (int begin = 0; begin < from.c; begin += threads) {
    const int other = begin + thread;
    if (begin > 0) __syncthreads();  // the tile before has been read
    tile[thread] = other < from.c ? keyOf(toFloat(x[other]), other) : 0;
    __syncthreads();
    for (int i = 0; i < threads; ++i) place += tile[i] > key;
  }
  if (own < from.c && place < k) {
    score[place] = x[own];
    index[place] = own;
  }
  if (own >= k && own < scoresWritten) score[own] = fromFloat<T>(0.0f);
  if (own >= k && own < indicesWritten) index[own] = 0;
}

}  // namespace

cudaError_t topK(View from, View scores, View indices, int k, cudaStream_t stream) {
  if (k < 1 || k > from.c || indices.dtype != DType::kInt32) return cudaErrorInvalidValue;
  const int scoresWritten = writtenChannels(scores), indicesWritten = writtenChannels(indices);
  int items = from.c;
  if (items < scoresWritten) items = scoresWritten;
  if (items < indicesWritten) items = indicesWritten;
  return forViews(
      [&](auto element, auto) {
        const PerImage row(items, 1);
        return launch(topKKernel<decltype(element)>, dim3(row.grid.x * from.n), row.block, 0,
                      stream, from, scores, indices, k, scoresWritten, indicesWritten,
                      int(row.grid.x));
      },
      from, scores);
}

}  // namespace resnet::cuda
