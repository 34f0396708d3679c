// Vectors of the avx512 tier; include only from files compiled with its flags.
#pragma once

#include <immintrin.h>

namespace resnet::cpu {
namespace {

struct Avx512Lanes {
  using Vector = __m512;
  static constexpr int kWidth = 16, kRows = 14, kPanel = 32;
  static constexpr bool kAnySplit = false;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  // Into L1; the address need not be mapped.
  static void prefetch(const float* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
  }
  static Vector broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static Vector set(float value) { return _mm512_set1_ps(value); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  // The second operand is returned when one is NaN: NaN stays NaN, as in PyTorch. Masked with all
  // ones because GCC 12 warns of an uninitialised operand inside the plain form.
  static Vector relu(Vector a) { return _mm512_maskz_max_ps(0xffff, _mm512_setzero_ps(), a); }
  // NaN when either is.
  static Vector max(Vector a, Vector x) {
    return _mm512_mask_mov_ps(_mm512_maskz_max_ps(0xffff, x, a),
                              _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
  }
  static void store(float* p, Vector a) { _mm512_storeu_ps(p, a); }
};

}  // namespace
}  // namespace resnet::cpu
