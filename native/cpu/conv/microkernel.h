// The register-tile kernels that convolution, Winograd's product and linear share.
//
// acc[m][0..N) = sum over steps s, over j in [0, depth) of  a[m] at steps[s] + j  *  w[(s * depth + j) * N + n]
// depth is 16 (one channel block of one tap) or, for thin inputs, the run of S*C floats of one kernel row.
// Then y = act(acc * scale + shift + residual), stored as N/16 channel blocks.
//
// The M rows are output pixels: rows [0, m1) at a0 + m * aStride, the others at a1 + (m - m1) * aStride, so that a tile
// can span two image rows; likewise for y and residual with yStride.
#pragma once

#include <cstddef>
#include <cstdint>

namespace resnet::cpu {

struct TileArgs {
  const float* a0 = nullptr;  // input pixel of row 0, tap (0, 0), channel 0 of the step's first block
  const float* a1 = nullptr;  // of row m1
  int aStride = 0;            // floats from one row's pixel to the next
  const ptrdiff_t* steps = nullptr;  // offset in floats of each step from a0
  int stepCount = 0;
  int depth = 16;
  const float* w = nullptr;  // packed panel [stepCount][depth][N], 64-byte aligned
  float* y0 = nullptr;       // output pixel of row 0 in the panel's first channel block
  float* y1 = nullptr;       // of row m1
  int yStride = 16;
  ptrdiff_t yBlockPitch = 0;          // floats from one channel block of the panel to the next
  const float* residual0 = nullptr;   // same geometry as y (residualStride, residualBlockPitch), or null
  const float* residual1 = nullptr;
  ptrdiff_t residualBlockPitch = 0;
  const float* scale = nullptr;  // [N]; null: 1
  const float* shift = nullptr;  // [N]; null: 0
  bool relu = false;
  int blocks = 1;  // channel blocks of the panel that exist (a tail panel may have fewer than N/16)
};

// One tier's set. rows in [1, maxRows]; m1 in [1, rows] (m1 == rows: one segment).
struct Microkernels {
  int maxRows;   // avx512: 14, avx2: 6
  int panel;     // N: avx512: 32, avx2: 16
  void (*run)(int rows, int m1, const TileArgs& args);
};
extern const Microkernels kPortableMicrokernels, kAvx2Microkernels, kAvx512Microkernels;

}  // namespace resnet::cpu
