// The body of every tier's microkernel: an M x N register tile, written once over a vector type.
//
// A tier gives `Lanes` with  Vector, kWidth, kRows (largest M), kPanel (N) and the operations
// below. Each file that includes this is compiled with that tier's flags only, hence the anonymous
// namespace: no instance may be shared.
// bound: M * N / (multiply-adds a cycle) cycles per float of a row; a broadcast serves N/kWidth. With few rows the weights
// are what it waits for: they are asked for ahead, since the processor's own prefetching ends at every page.
#pragma once

#include <array>
#include <utility>

#include "cpu/conv/microkernel.h"
#include "cpu/layout.h"

#if defined(__GNUC__)
#define RESNET_UNROLL _Pragma("GCC unroll 32")
#else
#define RESNET_UNROLL
#endif

namespace resnet::cpu {
namespace {

// Rows of a panel ahead: 4 KB with N = 32. From 16 to 96 are within 3% of each other on a Xeon of 2023, where none at all
// costs a fifth of a network's time at batch 1.
constexpr int kPrefetchRows = 32;

// kStride and kDepth 0: read from the arguments.
template <class Lanes, int M, int M1, int kStride, int kDepth>
void registerTile(const TileArgs& t) {
  using Vector = typename Lanes::Vector;
  constexpr int kVectors = Lanes::kPanel / Lanes::kWidth;
  constexpr int kPerBlock = kBlock / Lanes::kWidth;
  const ptrdiff_t stride = kStride != 0 ? kStride : t.aStride;
  const int depth = kDepth != 0 ? kDepth : t.depth;

  Vector acc[M][kVectors];
  RESNET_UNROLL
  for (int m = 0; m < M; ++m) {
    RESNET_UNROLL
    for (int n = 0; n < kVectors; ++n) acc[m][n] = Lanes::zero();
  }
  const float* w = t.w;
  for (int s = 0; s < t.stepCount; ++s) {
    const float* a0 = t.a0 + t.steps[s];
    const float* a1 = M1 < M ? t.a1 + t.steps[s] : a0;
    for (int j = 0; j < depth; ++j) {
      Vector b[kVectors];
      RESNET_UNROLL
      for (int n = 0; n < kVectors; ++n) b[n] = Lanes::load(w + n * Lanes::kWidth);
      RESNET_UNROLL
      for (int n = 0; n < Lanes::kPanel; n += kBlock)  // a cache line
        Lanes::prefetch(w + kPrefetchRows * Lanes::kPanel + n);
      RESNET_UNROLL
      for (int m = 0; m < M; ++m) {
        const Vector a = Lanes::broadcast(m < M1 ? a0 + m * stride : a1 + (m - M1) * stride);
        RESNET_UNROLL
        for (int n = 0; n < kVectors; ++n) acc[m][n] = Lanes::fma(a, b[n], acc[m][n]);
      }
      ++a0;
      ++a1;
      w += Lanes::kPanel;
    }
  }

  RESNET_UNROLL
  for (int n = 0; n < kVectors; ++n) {
    const int block = n / kPerBlock, lane = n % kPerBlock * Lanes::kWidth;
    if (block >= t.blocks) break;
    float* y0 = t.y0 + block * t.yBlockPitch + lane;
    float* y1 = M1 < M ? t.y1 + block * t.yBlockPitch + lane : y0;
    const Vector shift =
        t.shift != nullptr ? Lanes::load(t.shift + block * kBlock + lane) : Lanes::zero();
    const float* r0 = nullptr;
    const float* r1 = nullptr;
    if (t.residual0 != nullptr) {
      r0 = t.residual0 + block * t.residualBlockPitch + lane;
      r1 = M1 < M ? t.residual1 + block * t.residualBlockPitch + lane : r0;
    }
    RESNET_UNROLL
    for (int m = 0; m < M; ++m) {
      Vector v = Lanes::add(acc[m][n], shift);
      if (r0 != nullptr) {
        v = Lanes::add(v, Lanes::load(m < M1 ? r0 + m * kBlock : r1 + (m - M1) * kBlock));
      }
      if (t.relu) v = Lanes::relu(v);
      Lanes::store(m < M1 ? y0 + m * kBlock : y1 + (m - M1) * kBlock, v);
    }
  }
}

using TileFunction = void (*)(const TileArgs&);

// Whether a tile of these rows may be split after m1 of them. Tiers with few registers have every
// split; with 14 rows that would be a hundred kernels, for a gain of a few percent at most.
template <class Lanes>
constexpr bool isForm(int rows, int m1) {
  return m1 == rows || (m1 < rows && (Lanes::kAnySplit || 2 * m1 == rows));
}

template <class Lanes, int kStride, int kDepth, size_t kForm>
constexpr TileFunction formAt() {
  constexpr int rows = int(kForm) / Lanes::kRows + 1, m1 = int(kForm) % Lanes::kRows + 1;
  if constexpr (isForm<Lanes>(rows, m1)) {
    return registerTile<Lanes, rows, m1, kStride, kDepth>;
  } else {
    return nullptr;
  }
}

template <class Lanes, int kStride, int kDepth, size_t... kForm>
constexpr std::array<TileFunction, sizeof...(kForm)> allForms(std::index_sequence<kForm...>) {
  return {formAt<Lanes, kStride, kDepth, kForm>()...};
}

template <class Lanes, int kStride, int kDepth>
void runForm(int rows, int m1, const TileArgs& args) {
  static constexpr auto kForms = allForms<Lanes, kStride, kDepth>(
      std::make_index_sequence<size_t(Lanes::kRows) * Lanes::kRows>());
  kForms[size_t(rows - 1) * Lanes::kRows + (m1 - 1)](args);
}

// Strides that ResNets have are compiled in, so that a row's address costs no register: one block a
// pixel, every second pixel, and three channels at stride 2 (the stem).
template <class Lanes>
void runTile(int rows, int m1, const TileArgs& args) {
  if (args.depth == kBlock && args.aStride == kBlock) {
    runForm<Lanes, kBlock, kBlock>(rows, m1, args);
  } else if (args.depth == kBlock && args.aStride == 2 * kBlock) {
    runForm<Lanes, 2 * kBlock, kBlock>(rows, m1, args);
  } else if (args.aStride == 6) {
    runForm<Lanes, 6, 0>(rows, m1, args);
  } else {
    runForm<Lanes, 0, 0>(rows, m1, args);
  }
}

}  // namespace
}  // namespace resnet::cpu
