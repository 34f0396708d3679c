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

struct Kernels {
  // Prepares what `across` reads.
  void (*pack)(RowTaps& row, int channels);
  // out[i][c] = clamp(sum over taps of row[first[i] - begin + n][c] * weight, rounded), i < taps.length(). `row` starts
  // at source pixel taps.begin; kSlackBytes behind its last pixel and 1 byte behind `out` may be touched.
  void (*across)(const uint8_t* row, const RowTaps& taps, int channels, uint8_t* out);
  // out[i] = clamp(sum over taps of rows[n][i] * weights[n], rounded), i < bytes.
  void (*down)(const uint8_t* const* rows, const int32_t* weights, int count, int bytes,
               uint8_t* out);
  // planes[c][i] = levels[c * 256 + row[i * channels + c]], i < pixels.
  void (*normalise)(const uint8_t* row, int pixels, int channels, const float* levels,
                    float* const* planes, int planeCount);
};

const Kernels& kernelsOf(cpu::Isa isa);

extern const Kernels kPortableKernels;
#if RESNET_X64
extern const Kernels kAvx2Kernels;
#endif

}  // namespace resnet::image
