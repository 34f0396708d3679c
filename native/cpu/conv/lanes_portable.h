// Vectors of the portable tier: four floats, which every 64-bit target has registers for. Written
// with the vector extension of GCC and Clang, or as plain loops for other compilers.
#pragma once

#include <cstring>

#include "cpu/layout.h"

namespace resnet::cpu {
namespace {

#if defined(__GNUC__)
using PortableVector = float __attribute__((vector_size(16)));

inline PortableVector portableRelu(PortableVector a) {
  const PortableVector zero = {};
  return a < zero ? zero : a;
}
inline PortableVector portableMax(PortableVector a, PortableVector x) {
  return (x > a) | (x != x) ? x : a;
}
#else
struct PortableVector {
  float v[4];
  float& operator[](int i) { return v[i]; }
};
template <class Each>
PortableVector portableMake(Each each) {
  return {{each(0), each(1), each(2), each(3)}};
}
inline PortableVector operator+(PortableVector a, PortableVector b) {
  return portableMake([&](int i) { return a.v[i] + b.v[i]; });
}
inline PortableVector operator-(PortableVector a, PortableVector b) {
  return portableMake([&](int i) { return a.v[i] - b.v[i]; });
}
inline PortableVector operator*(PortableVector a, PortableVector b) {
  return portableMake([&](int i) { return a.v[i] * b.v[i]; });
}
inline PortableVector portableRelu(PortableVector a) {
  return portableMake([&](int i) { return a.v[i] < 0 ? 0.0f : a.v[i]; });
}
inline PortableVector portableMax(PortableVector a, PortableVector x) {
  return portableMake([&](int i) { return x.v[i] > a.v[i] || x.v[i] != x.v[i] ? x.v[i] : a.v[i]; });
}
#endif

struct PortableLanes {
  using Vector = PortableVector;
  // Rows * 4 sums beside 4 vectors of weights: of 32 registers, or of x86-64's 16.
#if RESNET_X64
  static constexpr int kRows = 2;
#else
  static constexpr int kRows = 6;
#endif
  static constexpr int kWidth = 4, kPanel = kBlock;
  static constexpr bool kAnySplit = true;

  static Vector zero() { return Vector{}; }
  static Vector load(const float* p) {
    Vector out;
    std::memcpy(&out, p, sizeof out);
    return out;
  }
  static Vector set(float value) { return Vector{value, value, value, value}; }
  static void prefetch(const float*) {}
  static Vector broadcast(const float* p) { return set(*p); }
  static Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
  static Vector add(Vector a, Vector b) { return a + b; }
  static Vector sub(Vector a, Vector b) { return a - b; }
  static Vector relu(Vector a) { return portableRelu(a); }  // NaN stays NaN, as in PyTorch
  static Vector max(Vector a, Vector x) { return portableMax(a, x); }  // NaN when either is
  static void store(float* p, Vector a) { std::memcpy(p, &a, sizeof a); }
};

}  // namespace
}  // namespace resnet::cpu
