// Plain C++: what every other tier must equal.
#include "image/kernels.h"

namespace resnet::image {
namespace {

// Sums wrap around as every tier's do; with weights that add up to 2^22 they stay in range.
uint8_t clamped(uint32_t sum) {
  const int32_t level = int32_t(sum + (1u << (kPrecision - 1))) >> kPrecision;
  return uint8_t(level < 0 ? 0 : level > 255 ? 255 : level);
}

void pack(RowTaps&, int) {}

void acrossRow(const uint8_t* row, const RowTaps& packed, int channels, uint8_t* out) {
  const Taps& taps = *packed.taps;
  for (int i = 0; i < taps.length(); ++i) {
    const int32_t* weights = taps.weights.data() + size_t(i) * size_t(taps.stride);
    const uint8_t* from = row + size_t(taps.first[size_t(i)] - taps.begin) * size_t(channels);
    for (int c = 0; c < channels; ++c) {
      uint32_t sum = 0;
      for (int n = 0; n < taps.count[size_t(i)]; ++n) {
        sum += uint32_t(from[n * channels + c]) * uint32_t(weights[n]);
      }
      out[i * channels + c] = clamped(sum);
    }
  }
}

void across(const uint8_t* const* rows, int count, const RowTaps& packed, int channels,
            uint8_t* const* outs) {
  for (int r = 0; r < count; ++r) acrossRow(rows[r], packed, channels, outs[r]);
}

void down(const uint8_t* const* rows, const int32_t* weights, int count, int bytes, uint8_t* out) {
  for (int i = 0; i < bytes; ++i) {
    uint32_t sum = 0;
    for (int n = 0; n < count; ++n) sum += uint32_t(rows[n][i]) * uint32_t(weights[n]);
    out[i] = clamped(sum);
  }
}

void grey(const uint8_t* row, int pixels, uint8_t* out) {
  for (int i = 0; i < pixels; ++i, row += 3)
    out[i] = uint8_t((row[0] * 19595 + row[1] * 38470 + row[2] * 7471 + 0x8000) >> 16);
}

void prepare(Levels&) {}

void normalise(const uint8_t* row, int pixels, int channels, const Levels& levels,
               float* const* planes) {
  for (size_t c = 0; c < levels.mean.size(); ++c) {
    const float* table = levels.table.data() + c * 256;
    const uint8_t* from = row + (channels == 1 ? 0 : c);
    for (int i = 0; i < pixels; ++i) planes[c][i] = table[from[i * channels]];
  }
}

}  // namespace

const Kernels kPortableKernels = {pack, across, grey, down, prepare, normalise};

const Kernels& kernelsOf([[maybe_unused]] cpu::Isa isa) {
#if RESNET_X64
  if (isa != cpu::Isa::kPortable) return kAvx2Kernels;
#endif
  return kPortableKernels;
}

}  // namespace resnet::image
