// The register-tile kernels that convolution, Winograd's product and linear share.
//
//   acc[m][n] = sum over steps s, over j in [0, depth) of a[m][steps[s] + j] * w[s][j][n]
//   y = act(acc + shift + residual), stored as N/16 channel blocks
//
// depth is 16 (one channel block of one tap) or any other number: the run of S*C floats of one
// kernel row of a thin input. The M rows are output pixels: rows [0, m1) at a0 + m * aStride, the
// others at a1 + (m - m1) * aStride, so that a tile can span two image rows; likewise for y and
// residual, whose pixels are 16 floats apart within a channel block.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"

namespace resnet::cpu {

struct TileArgs {
  const float* a0 = nullptr;         // input pixel of row 0, tap (0, 0), channel 0 of block 0
  const float* a1 = nullptr;         // of row m1
  ptrdiff_t aStride = 16;            // floats from one row's pixel to the next
  const ptrdiff_t* steps = nullptr;  // offset in floats of each step from a0
  int stepCount = 0;
  int depth = 16;
  const float* w = nullptr;  // packed panel [stepCount][depth][N], 64-byte aligned
  float* y0 = nullptr;  // output pixel of row 0 in the panel's first channel block, 64-byte aligned
  float* y1 = nullptr;  // of row m1
  ptrdiff_t yBlockPitch = 0;         // floats from one channel block of the panel to the next
  const float* residual0 = nullptr;  // same form as y, or null; may be y
  const float* residual1 = nullptr;
  ptrdiff_t residualBlockPitch = 0;
  const float* shift = nullptr;  // [N]; null: 0
  bool relu = false;
  int blocks = 1;  // channel blocks of the panel that exist (a tail panel may have fewer than N/16)
};

// One tier's set. rows in [1, maxRows]; m1 == rows (one segment) or m1 == rows / 2 with even rows.
struct Microkernels {
  int maxRows;  // avx512: 14, avx2: 6, portable: 4
  int panel;    // N: avx512: 32, else 16
  void (*run)(int rows, int m1, const TileArgs& args);
};
extern const Microkernels kPortableMicrokernels, kAvx2Microkernels, kAvx512Microkernels;

const Microkernels& microkernels(Isa isa);

}  // namespace resnet::cpu
