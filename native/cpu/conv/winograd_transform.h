// The input and output transforms of Winograd's F(m x m, 3 x 3), m = 4 and 2, written once over a
// tier's vector type.
//
// input:  V = B^T d B, one tile of (m+2)^2 pixels and one channel block; V[f] at v + f * vPitch
// output: y = relu(A^T M A + shift + residual), one tile of m^2 pixels and one channel block
// bound: 2 loads or stores and about 5 operations per transformed value; the products dominate from
// 128 channels on
// Source: Lavin & Gray 2015, points 0, 1, -1, 2, -2 (m = 4) and 0, 1, -1 (m = 2), the last one
// infinity.
#pragma once

#include "cpu/conv/register_tile.h"

namespace resnet::cpu {

struct WinogradOutput {
  const float* products = nullptr;  // of this tile and block; value f at products + f * pitch
  ptrdiff_t pitch = 0;
  float* y = nullptr;  // pixel (0, 0) of the tile in this block
  ptrdiff_t yRowPitch = 0;
  const float* residual = nullptr;  // or null; may be y
  ptrdiff_t residualRowPitch = 0;
  const float* shift = nullptr;  // [16]
  bool relu = false;
  int rows = 0, columns = 0;  // of the tile inside the map, at most m
};

struct WinogradTransforms {
  // Pixel (i, j) of the tile at x + i * rowPitch + j * 16.
  void (*input)(const float* x, ptrdiff_t rowPitch, float* v, ptrdiff_t vPitch);
  void (*output)(const WinogradOutput& args);
};

// [0]: m = 2, [1]: m = 4
extern const WinogradTransforms kPortableWinograd[2], kAvx2Winograd[2], kAvx512Winograd[2];

namespace {

template <class Lanes, int m>
struct Winograd1d;

template <class Lanes>
struct Winograd1d<Lanes, 2> {
  using Vector = typename Lanes::Vector;
  static void input(const Vector* d, Vector* v) {
    v[0] = Lanes::sub(d[0], d[2]);
    v[1] = Lanes::add(d[1], d[2]);
    v[2] = Lanes::sub(d[2], d[1]);
    v[3] = Lanes::sub(d[1], d[3]);
  }
  static void output(const Vector* p, Vector* y) {
    y[0] = Lanes::add(Lanes::add(p[0], p[1]), p[2]);
    y[1] = Lanes::sub(Lanes::sub(p[1], p[2]), p[3]);
  }
};

template <class Lanes>
struct Winograd1d<Lanes, 4> {
  using Vector = typename Lanes::Vector;
  static void input(const Vector* d, Vector* v) {
    const Vector four = Lanes::set(4), minusFour = Lanes::set(-4), minusFive = Lanes::set(-5);
    const Vector two = Lanes::set(2), minusTwo = Lanes::set(-2);
    v[0] = Lanes::fma(four, d[0], Lanes::fma(minusFive, d[2], d[4]));
    const Vector even = Lanes::fma(minusFour, d[2], d[4]), odd = Lanes::fma(minusFour, d[1], d[3]);
    v[1] = Lanes::add(even, odd);
    v[2] = Lanes::sub(even, odd);
    const Vector near = Lanes::sub(d[4], d[2]), slope = Lanes::sub(d[3], d[1]);
    v[3] = Lanes::fma(two, slope, near);
    v[4] = Lanes::fma(minusTwo, slope, near);
    v[5] = Lanes::fma(four, d[1], Lanes::fma(minusFive, d[3], d[5]));
  }
  static void output(const Vector* p, Vector* y) {
    const Vector sum1 = Lanes::add(p[1], p[2]), difference1 = Lanes::sub(p[1], p[2]);
    const Vector sum2 = Lanes::add(p[3], p[4]), difference2 = Lanes::sub(p[3], p[4]);
    y[0] = Lanes::add(Lanes::add(p[0], sum1), sum2);
    y[1] = Lanes::fma(Lanes::set(2), difference2, difference1);
    y[2] = Lanes::fma(Lanes::set(4), sum2, sum1);
    y[3] = Lanes::add(Lanes::fma(Lanes::set(8), difference2, difference1), p[5]);
  }
};

template <class Lanes, int m>
void winogradInput(const float* x, ptrdiff_t rowPitch, float* v, ptrdiff_t vPitch) {
  using Vector = typename Lanes::Vector;
  constexpr int a = m + 2;
  for (int lane = 0; lane < kBlock; lane += Lanes::kWidth) {
    Vector t[a][a];  // [column][transformed row]
    RESNET_UNROLL
    for (int j = 0; j < a; ++j) {
      Vector d[a];
      RESNET_UNROLL
      for (int i = 0; i < a; ++i) d[i] = Lanes::load(x + i * rowPitch + j * kBlock + lane);
      Winograd1d<Lanes, m>::input(d, t[j]);
    }
    RESNET_UNROLL
    for (int i = 0; i < a; ++i) {
      Vector d[a], out[a];
      RESNET_UNROLL
      for (int j = 0; j < a; ++j) d[j] = t[j][i];
      Winograd1d<Lanes, m>::input(d, out);
      RESNET_UNROLL
      for (int j = 0; j < a; ++j) Lanes::store(v + (i * a + j) * vPitch + lane, out[j]);
    }
  }
}

template <class Lanes>
void storeWinogradPixel(const WinogradOutput& args, int i, int j, int lane,
                        typename Lanes::Vector value) {
  const ptrdiff_t column = j * kBlock + lane;
  if (args.residual != nullptr) {
    value = Lanes::add(value, Lanes::load(args.residual + i * args.residualRowPitch + column));
  }
  if (args.relu) value = Lanes::relu(value);
  Lanes::store(args.y + i * args.yRowPitch + column, value);
}

template <class Lanes, int m>
void winogradOutput(const WinogradOutput& args) {
  using Vector = typename Lanes::Vector;
  constexpr int a = m + 2;
  const bool whole = args.rows == m && args.columns == m;
  for (int lane = 0; lane < kBlock; lane += Lanes::kWidth) {
    const Vector shift = Lanes::load(args.shift + lane);
    Vector t[a][m];  // [column][output row]
    RESNET_UNROLL
    for (int j = 0; j < a; ++j) {
      Vector p[a];
      RESNET_UNROLL
      for (int i = 0; i < a; ++i)
        p[i] = Lanes::load(args.products + (i * a + j) * args.pitch + lane);
      Winograd1d<Lanes, m>::output(p, t[j]);
    }
    RESNET_UNROLL
    for (int i = 0; i < m; ++i) {
      Vector p[a], y[m];
      RESNET_UNROLL
      for (int j = 0; j < a; ++j) p[j] = t[j][i];
      Winograd1d<Lanes, m>::output(p, y);
      RESNET_UNROLL
      for (int j = 0; j < m; ++j) {
        if (whole || (i < args.rows && j < args.columns)) {
          storeWinogradPixel<Lanes>(args, i, j, lane, Lanes::add(y[j], shift));
        }
      }
    }
  }
}

}  // namespace
}  // namespace resnet::cpu
