// A multiprocessor's two warp groups multiply tiles that lie in its shared memory, again and again: nothing else is in the way.
#include "cuda/probe/wgmma.cuh"
#include "cuda/probe/wgmma.h"

namespace resnet::cuda::probe {
namespace {

constexpr int kGroups = 2, kMatrixThreads = 128 * kGroups;
constexpr int kSteps = 8;               // of k16, in one group of instructions
constexpr int kRowBytes = 128;          // 64 float16: what one atom of the 128-byte swizzle holds
constexpr int kTileA = 64 * kRowBytes;  // of one warp group
constexpr int sharedBytes(int n) { return kGroups * kTileA + n * kRowBytes + 1024; }

// K-major, 128-byte swizzle: atoms of 8 rows follow each other after 1024 bytes.
__device__ __forceinline__ uint64_t descriptor(unsigned address) {
  const uint64_t stride = 1024 >> 4, swizzle = 1;
  return uint64_t((address & 0x3FFFFu) >> 4) | uint64_t{1} << 16 | stride << 32 | swizzle << 62;
}

template <int N, bool kARegisters>
__global__ void __launch_bounds__(kMatrixThreads, 1) matrixKernel(float* sink, int iterations) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char memory[];
  const auto raw = unsigned(__cvta_generic_to_shared(memory));
  const unsigned base = (raw + 1023u) / 1024u * 1024u;
  auto* const words = reinterpret_cast<unsigned*>(memory + (base - raw));
  // Numbers of half to one, signs and fractions without a pattern.
  for (int i = int(threadIdx.x); i < (kGroups * kTileA + N * kRowBytes) / 4; i += kMatrixThreads) {
    unsigned x = unsigned(i) * 2654435761u + blockIdx.x;
    x = (x ^ (x >> 15)) * 0x7FEB352Du;
    words[i] = ((x ^ (x >> 16)) & 0x83FF83FFu) | 0x38003800u;
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();

  const unsigned group = threadIdx.x / 128;
  const uint64_t a = descriptor(base + group * kTileA), b = descriptor(base + kGroups * kTileA);
  const unsigned aRegisters[4] = {words[threadIdx.x], words[threadIdx.x + 256],
                                  words[threadIdx.x + 512], words[threadIdx.x + 768]};
  float c[N / 2];
#pragma unroll
  for (int i = 0; i < N / 2; ++i) c[i] = 0;
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  for (int i = 0; i < iterations; ++i) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const uint64_t along = uint64_t(step % 4) * 2;  // 32 bytes: the next 16 of a row's 64 numbers
      if constexpr (kARegisters) {
        multiply<N>(c, aRegisters, b + along);
      } else {
        multiply<N>(c, a + along, b + along);
      }
    }
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
  }
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  float sum = 0;
#pragma unroll
  for (int i = 0; i < N / 2; ++i) sum += c[i];
  // Nearly never, but the compiler cannot know.
  if (sum == 0.12345f) *sink = sum;
#endif
}

template <int N, bool kARegisters>
cudaError_t launchOne(const MatrixLaunch& given, float* sink, cudaStream_t stream) {
  const auto kernel = matrixKernel<N, kARegisters>;
  const cudaError_t allowed =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sharedBytes(N));
  if (allowed != cudaSuccess) return allowed;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(given.blocks));
  config.blockDim = dim3(kMatrixThreads);
  config.dynamicSmemBytes = sharedBytes(N);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, sink, given.iterations);
}

}  // namespace

double matrixFlop(const MatrixLaunch& given) {
  return 2.0 * 64 * given.n * 16 * kSteps * given.iterations * double(kGroups) * given.blocks;
}

cudaError_t launchMatrix(const MatrixLaunch& given, float* sink, cudaStream_t stream) {
  switch (given.n) {
    case 64:
      return given.aInRegisters ? launchOne<64, true>(given, sink, stream)
                                : launchOne<64, false>(given, sink, stream);
    case 128:
      return given.aInRegisters ? launchOne<128, true>(given, sink, stream)
                                : launchOne<128, false>(given, sink, stream);
    case 256:
      return given.aInRegisters ? launchOne<256, true>(given, sink, stream)
                                : launchOne<256, false>(given, sink, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace resnet::cuda::probe
