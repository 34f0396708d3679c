// Vectors of the portable tier: plain loops of 16 floats that a compiler turns into what the target
// has.
#pragma once

#include "cpu/layout.h"

namespace resnet::cpu {
namespace {

struct PortableLanes {
  struct Vector {
    float v[kBlock];
  };
  static constexpr int kWidth = kBlock, kRows = 4, kPanel = kBlock;

  template <class Each>
  static Vector make(Each each) {
    Vector out;
    for (int i = 0; i < kWidth; ++i) out.v[i] = each(i);
    return out;
  }
  static Vector zero() {
    return make([](int) { return 0.0f; });
  }
  static Vector load(const float* p) {
    return make([=](int i) { return p[i]; });
  }
  static Vector broadcast(const float* p) {
    const float value = *p;
    return make([=](int) { return value; });
  }
  static Vector set(float value) {
    return make([=](int) { return value; });
  }
  static Vector fma(const Vector& a, const Vector& b, const Vector& c) {
    return make([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
  }
  static Vector add(const Vector& a, const Vector& b) {
    return make([&](int i) { return a.v[i] + b.v[i]; });
  }
  static Vector sub(const Vector& a, const Vector& b) {
    return make([&](int i) { return a.v[i] - b.v[i]; });
  }
  // NaN stays NaN, as in PyTorch.
  static Vector relu(const Vector& a) {
    return make([&](int i) { return a.v[i] < 0.0f ? 0.0f : a.v[i]; });
  }
  // NaN when either is.
  static Vector max(const Vector& a, const Vector& x) {
    return make([&](int i) { return (x.v[i] > a.v[i]) | (x.v[i] != x.v[i]) ? x.v[i] : a.v[i]; });
  }
  static void store(float* p, const Vector& a) {
    for (int i = 0; i < kWidth; ++i) p[i] = a.v[i];
  }
};

}  // namespace
}  // namespace resnet::cpu
