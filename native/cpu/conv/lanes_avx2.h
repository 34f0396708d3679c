// Vectors of the avx2 tier; include only from files compiled with its flags.
#pragma once

#include <immintrin.h>

namespace resnet::cpu {
namespace {

struct Avx2Lanes {
  using Vector = __m256;
  static constexpr int kWidth = 8, kRows = 6, kPanel = 16;
  static constexpr bool kAnySplit = true;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  // Into L1; the address need not be mapped.
  static void prefetch(const float* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static Vector broadcast(const float* p) { return _mm256_set1_ps(*p); }
  static Vector set(float value) { return _mm256_set1_ps(value); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  // The second operand is returned when one is NaN: NaN stays NaN, as in PyTorch.
  static Vector relu(Vector a) { return _mm256_max_ps(_mm256_setzero_ps(), a); }
  // NaN when either is.
  static Vector max(Vector a, Vector x) {
    return _mm256_blendv_ps(_mm256_max_ps(x, a), x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  }
  static void store(float* p, Vector a) { _mm256_storeu_ps(p, a); }
};

}  // namespace
}  // namespace resnet::cpu
