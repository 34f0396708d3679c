// Fused multiply-adds in 128 and 256-bit registers. Bound: compute.
#include <immintrin.h>

#include "cpu/limits/limits.h"

namespace resnet::cpu {
namespace {

constexpr int kChains =
    12;  // two ports, at most five clocks: ten in flight, and registers to spare

void fma128(int64_t turns) {
  __m128 sums[kChains];
  for (__m128& sum : sums) sum = _mm_set1_ps(1);
  __m128 x = _mm_set1_ps(0.5f);
  for (int64_t turn = 0; turn < turns; ++turn) {
    for (__m128& sum : sums) {
      sum = _mm_fmadd_ps(sum, x, x);
      __asm__ volatile("" : "+x"(sum));
    }
  }
}

void fma256(int64_t turns) {
  __m256 sums[kChains];
  for (__m256& sum : sums) sum = _mm256_set1_ps(1);
  __m256 x = _mm256_set1_ps(0.5f);
  for (int64_t turn = 0; turn < turns; ++turn) {
    for (__m256& sum : sums) {
      sum = _mm256_fmadd_ps(sum, x, x);
      __asm__ volatile("" : "+x"(sum));
    }
  }
}

}  // namespace

void appendAvx2Loops(std::vector<LimitLoop>& loops) {
  loops.push_back({"float32 multiply-add, 128-bit", "GFLOP/s float32", 2.0 * 4 * kChains, fma128});
  loops.push_back({"float32 multiply-add, 256-bit", "GFLOP/s float32", 2.0 * 8 * kChains, fma256});
}

}  // namespace resnet::cpu
