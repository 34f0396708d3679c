// Fused multiply-adds in 512-bit registers, bfloat16 and int8 dot products where the host has them.
// Bound: compute.
#include <immintrin.h>

#include "cpu/limits/limits.h"

namespace resnet::cpu {
namespace {

constexpr int kChains = 16;  // ten in flight at least; more than 16 the compiler keeps in memory

void fma512(int64_t turns) {
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1);
  __m512 x = _mm512_set1_ps(0.5f);
  for (int64_t turn = 0; turn < turns; ++turn) {
    for (__m512& sum : sums) {
      sum = _mm512_fmadd_ps(sum, x, x);
      __asm__ volatile("" : "+v"(sum));
    }
  }
}

// These two need instructions beyond the tier's: written as assembly, since the file is compiled
// without them, and run only where the processor says that it has them.
void bfloat16Dot(int64_t turns) {
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  const __m512i x = _mm512_set1_epi16(0x3f00);
  for (int64_t turn = 0; turn < turns; ++turn) {
    for (__m512& sum : sums) __asm__ volatile("vdpbf16ps %1, %1, %0" : "+v"(sum) : "v"(x));
  }
}

void int8Dot(int64_t turns) {
  __m512i sums[kChains];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  const __m512i x = _mm512_set1_epi8(1);
  for (int64_t turn = 0; turn < turns; ++turn) {
    for (__m512i& sum : sums) __asm__ volatile("vpdpbusd %1, %1, %0" : "+v"(sum) : "v"(x));
  }
}

}  // namespace

void appendAvx512Loops(std::vector<LimitLoop>& loops) {
  loops.push_back({"float32 multiply-add, 512-bit", "GFLOP/s float32", 2.0 * 16 * kChains, fma512});
  if (__builtin_cpu_supports("avx512bf16")) {
    loops.push_back(
        {"bfloat16 dot product, 512-bit", "GFLOP/s bfloat16", 2.0 * 32 * kChains, bfloat16Dot});
  }
  if (__builtin_cpu_supports("avx512vnni")) {
    loops.push_back({"int8 dot product, 512-bit", "GOP/s int8", 2.0 * 64 * kChains, int8Dot});
  }
}

}  // namespace resnet::cpu
