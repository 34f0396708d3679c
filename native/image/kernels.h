// The inner loops of a resize, a tier each; all give the same bits.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/isa.h"
#include "image/taps.h"

namespace resnet::image {

// Taps across, as the kernels want them.
struct RowTaps {
  const Taps* taps = nullptr;
  std::vector<int16_t> pairs;  // see packPairs of the tier; empty where it needs none
};

// What each level becomes in each plane.
struct Levels {
  std::vector<float> mean, std;  // [planes]
  std::vector<float>
      table;  // [planes][256]: (level / 255 - mean) / std, each operation rounded to float32
  bool exactByProduct = false;  // the tier computes it without dividing; it has tried all levels
};

// Rows that share a load of the weights.
inline constexpr int kRowsAtOnce = 4;

struct Kernels {
  // Prepares what `across` reads.
  void (*pack)(RowTaps& row, int channels);
  // outs[r][i][c] = clamp(sum over taps of rows[r][first[i] - begin + n][c] * weight, rounded), i < taps.length(),
  // r < count <= kRowsAtOnce. A row starts at source pixel taps.begin; kSlackBytes behind its last pixel and 1 byte behind
  // each `out` may be touched.
  void (*across)(const uint8_t* const* rows, int count, const RowTaps& taps, int channels,
                 uint8_t* const* outs);
  // out[i] = L of PIL's convert('L') for the RGB pixel row[i], i < pixels: (R 19595 + G 38470 + B 7471 + 2^15) >> 16.
  // kSlackBytes behind the last pixel may be read.
  void (*grey)(const uint8_t* row, int pixels, uint8_t* out);
  // out[i] = clamp(sum over taps of rows[n][i] * weights[n], rounded), i < bytes.
  void (*down)(const uint8_t* const* rows, const int32_t* weights, int count, int bytes,
               uint8_t* out);
  // Prepares what `normalise` reads; mean, std and table are there.
  void (*prepare)(Levels& levels);
  // planes[c][i] = table[c][row[i][c]], i < pixels; grey goes to all planes.
  void (*normalise)(const uint8_t* row, int pixels, int channels, const Levels& levels,
                    float* const* planes);
};

const Kernels& kernelsOf(cpu::Isa isa);

extern const Kernels kPortableKernels;
#if RESNET_X64
extern const Kernels kAvx2Kernels;
#endif

}  // namespace resnet::image
