// The emulator itself: what its built-ins give, and that it finds the faults that it is there to find.
#include <numeric>

#include "cuda/kernels/launch.h"
#include "device_value.h"
#include "test/native/check.h"

using namespace resnet;
using namespace resnet::test;

namespace {

std::string lastFault;

constexpr unsigned kAll = 0xFFFFFFFFu;

template <typename... Parameters, typename... Arguments>
std::string faultOf(void (*kernel)(Parameters...), dim3 block, size_t sharedBytes,
                    Arguments... arguments) {
  lastFault.clear();
  const cudaError_t error =
      cuda::launch(kernel, dim3(1), block, sharedBytes, nullptr, arguments...);
  CHECK_EQ(error == cudaErrorLaunchFailure, !lastFault.empty());
  return lastFault;
}

__global__ void indices(int* to) {
  const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  to[block * blockDim.x * blockDim.y * blockDim.z + thread] += block * 1000 + thread;
}

__global__ void shuffles(int* to) {
  const int lane = threadIdx.x;
  to[lane] = __shfl_sync(kAll, lane, 5);
  to[32 + lane] = __shfl_sync(kAll, lane, 9, 8);
  to[64 + lane] = __shfl_xor_sync(kAll, lane, 8);
  to[96 + lane] = __shfl_xor_sync(kAll, lane, 8, 8);
  to[128 + lane] = __shfl_down_sync(kAll, lane, 3, 16);
  to[160 + lane] = __shfl_up_sync(kAll, lane, 3, 16);
  to[192 + lane] = int(__ballot_sync(kAll, lane % 3 == 0));
  to[224 + lane] = __any_sync(kAll, lane == 4) * 2 + __all_sync(kAll, lane < 32);
  if (lane < 8) to[256 + lane] = __shfl_xor_sync(0xFFu, lane, 1);  // a part of a warp
}

// Sums by a tree in dynamic shared memory; `without` leaves out one of the barriers.
__global__ void tree(const int* x, int* to, int without) {
  RESNET_SHARED_DYNAMIC(int, part);
  RESNET_SHARED(int, total, 1);
  const int thread = threadIdx.x;
  part[thread] = x[thread];
  if (without != 0) __syncthreads();
  for (int apart = blockDim.x / 2; apart > 0; apart /= 2) {
    if (thread < apart) part[thread] += part[thread + apart];
    if (without != 1) __syncthreads();
  }
  if (thread == 0) total[0] = part[0];
  if (without != 2) __syncthreads();
  to[thread] = total[0];
}

__global__ void lacksOwnLane(int* to) {
  to[threadIdx.x] = __shfl_xor_sync(0xFFFFu, int(threadIdx.x), 1);
}
__global__ void waitsForTheEnded(int* to) {
  if (threadIdx.x == 3) return;
  to[threadIdx.x] = __shfl_xor_sync(kAll, int(threadIdx.x), 1);
}
__global__ void partsWays(int*) {
  if (threadIdx.x == 3) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}
__global__ void differentMasks(int* to) {
  const unsigned mask = threadIdx.x < 16 ? kAll : 0xFFFF0000u;
  to[threadIdx.x] = __shfl_xor_sync(mask, 1, 1);
}
__global__ void endsBeforeTheBarrier(int* to) {  // allowed since sm_70
  if (threadIdx.x % 2 == 1) return;
  __syncthreads();
  to[threadIdx.x] = 1;
}
__global__ void overrunsShared(int*) {
  RESNET_SHARED_DYNAMIC(int, part);
  part[threadIdx.x] = 1;
}
__global__ void readsUnwritten(float* to) {
  RESNET_SHARED(float, part, 32);
  to[threadIdx.x] = part[threadIdx.x];
  part[threadIdx.x] = 1;
}
__global__ void readsOutsideTheMask(float* to) {
  if (threadIdx.x < 16) to[threadIdx.x] = __shfl_sync(0xFFFFu, 1.0f, 20);
}

}  // namespace

TEST("every thread of every block runs once, with its own indices") {
  std::vector<int> to(2 * 3 * 2 * 3 * 4 * 5);
  CHECK_EQ(cuda::launch(indices, dim3(2, 3, 2), dim3(3, 4, 5), 0, nullptr, to.data()), cudaSuccess);
  for (size_t i = 0; i < to.size(); ++i) CHECK_EQ(to[i], int(i / 60 * 1000 + i % 60));
}

TEST("shuffles and votes give what CUDA's give") {
  std::vector<int> to(264);
  CHECK_EQ(cuda::launch(shuffles, dim3(1), dim3(32), 0, nullptr, to.data()), cudaSuccess);
  for (int lane = 0; lane < 32; ++lane) {
    CHECK_EQ(to[lane], 5);
    CHECK_EQ(to[32 + lane], lane / 8 * 8 + 1);
    CHECK_EQ(to[64 + lane], lane ^ 8);
    // A lane may read from a segment before its own, never from one behind it.
    CHECK_EQ(to[96 + lane], lane % 16 < 8 ? lane : lane ^ 8);
    CHECK_EQ(to[128 + lane], lane % 16 < 13 ? lane + 3 : lane);
    CHECK_EQ(to[160 + lane], lane % 16 >= 3 ? lane - 3 : lane);
    CHECK_EQ(to[192 + lane], 0x49249249);
    CHECK_EQ(to[224 + lane], 3);
    if (lane < 8) CHECK_EQ(to[256 + lane], lane ^ 1);
  }
}

TEST("a barrier that is missing shows in some order, and none shows without cause") {
  std::vector<int> x(64);
  std::iota(x.begin(), x.end(), 1);
  for (int without : {-1, 0, 1, 2}) {
    int wrong = 0;
    for (int seed = 1; seed <= 20; ++seed) {
      cuda::simt::settings().seed = seed;
      std::vector<int> to(64);
      CHECK_EQ(cuda::launch(tree, dim3(1), dim3(64), 64 * sizeof(int), nullptr, x.data(), to.data(),
                            without),
               cudaSuccess);
      for (int each : to) {
        if (each != 64 * 65 / 2) {
          ++wrong;
          break;
        }
      }
    }
    std::printf("without barrier %d: %d of 20 orders are wrong\n", without, wrong);
    CHECK_EQ(wrong > 0, without >= 0);
  }
}

TEST("the same seed gives the same order") {
  std::vector<int> x(64, 1);
  std::vector<int> results[2];
  for (auto& result : results) {
    for (int seed = 1; seed <= 4; ++seed) {
      std::vector<int> to(64);
      cuda::simt::settings().seed = seed;
      lastFault = std::to_string(
          cuda::launch(tree, dim3(1), dim3(64), 64 * sizeof(int), nullptr, x.data(), to.data(), 1));
      result.insert(result.end(), to.begin(), to.end());
    }
  }
  CHECK(results[0] == results[1]);
}

TEST("what CUDA leaves undefined, or hangs on, is a fault that says which thread") {
  std::vector<int> to(64);
  int* const y = to.data();
  CHECK_HAS(faultOf(lacksOwnLane, dim3(32), 0, y), "with a mask that lacks its own lane");
  CHECK_HAS(faultOf(waitsForTheEnded, dim3(32), 0, y), "lane 3");
  CHECK_HAS(faultOf(waitsForTheEnded, dim3(16), 0, y), "has ended or does not exist");
  CHECK_HAS(faultOf(partsWays, dim3(32), 0, y), "thread (3, 0, 0) waits in __syncthreads");
  CHECK_HAS(faultOf(differentMasks, dim3(32), 0, y), "in a shuffle");
  CHECK_EQ(faultOf(endsBeforeTheBarrier, dim3(32), 0, y), "");
#if !defined(__SANITIZE_ADDRESS__)
  CHECK_HAS(faultOf(overrunsShared, dim3(33), 32 * sizeof(int), y), "past the end of its shared");
#endif
  CHECK_EQ(faultOf(overrunsShared, dim3(32), 32 * sizeof(int), y), "");
}

TEST("shared memory starts as NaN in every block, and so is a lane outside the mask") {
  std::vector<float> to(32);
  CHECK_EQ(cuda::launch(readsUnwritten, dim3(3), dim3(32), 0, nullptr, to.data()), cudaSuccess);
  for (float each : to) CHECK(std::isnan(each));
  std::fill(to.begin(), to.end(), 0.0f);
  CHECK_EQ(cuda::launch(readsOutsideTheMask, dim3(1), dim3(32), 0, nullptr, to.data()),
           cudaSuccess);
  for (int i = 0; i < 16; ++i) CHECK(std::isnan(to[i]));
}

TEST("a launch beyond a device's limits is refused") {
  int* const none = nullptr;
  for (dim3 block : {dim3(0), dim3(1025), dim3(32, 33), dim3(1, 1, 65)}) {
    CHECK_EQ(cuda::launch(indices, dim3(1), block, 0, nullptr, none),
             cudaErrorInvalidConfiguration);
  }
  for (dim3 grid : {dim3(0), dim3(1, 65536), dim3(1, 1, 65536)}) {
    CHECK_EQ(cuda::launch(indices, grid, dim3(32), 0, nullptr, none),
             cudaErrorInvalidConfiguration);
  }
  CHECK_EQ(cuda::launch(indices, dim3(1), dim3(32), 49 * 1024, nullptr, none),
           cudaErrorInvalidValue);
}

int main(int argc, char** argv) {
  cuda::simt::settings().fault = [](const char* message) { lastFault = message; };
  return runCases(argc, argv);
}
