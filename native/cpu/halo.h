// Writers of the zero padding that values hold in memory (see layout.h): whoever writes a value
// calls one of these for the part that it writes, so that no convolution's inner loop needs bounds.
#pragma once

#include <cstring>

#include "cpu/layout.h"

namespace resnet::cpu {

// The halo beside rows [firstRow, endRow) of one channel block, with the halo rows above row 0 and
// below row h - 1 when those rows are in the range. `image` is the start of one image; block 0 is
// the whole of a thin image.
inline void zeroHaloRows(const Layout& layout, float* image, int block, int firstRow, int endRow) {
  const int halo = layout.halo;
  if (halo == 0 || firstRow >= endRow) return;
  const size_t pitch = layout.rowPitch();
  const size_t side = size_t(halo) * layout.channelPitch();
  float* base = image + (layout.thin ? 0 : block * layout.blockPitch());
  if (firstRow == 0) std::memset(base, 0, halo * pitch * sizeof(float));
  for (int y = firstRow; y < endRow; ++y) {
    float* row = base + (halo + y) * pitch;
    std::memset(row, 0, side * sizeof(float));
    std::memset(row + pitch - side, 0, side * sizeof(float));
  }
  if (endRow == layout.h) {
    std::memset(base + (halo + layout.h) * pitch, 0, halo * pitch * sizeof(float));
  }
}

// The whole halo of channel blocks [firstBlock, endBlock) of one image.
inline void zeroHalo(const Layout& layout, float* image, int firstBlock, int endBlock) {
  if (layout.halo == 0) return;
  for (int b = firstBlock; b < endBlock; ++b) zeroHaloRows(layout, image, b, 0, layout.h);
}

// The whole halo of one image; for a thin image also the slack behind it, so that vector reads see
// numbers.
inline void zeroHalo(const Layout& layout, float* image) {
  if (!layout.thin) return zeroHalo(layout, image, 0, layout.blocks());
  zeroHaloRows(layout, image, 0, 0, layout.h);
  const size_t end = layout.blockPitch();
  std::memset(image + end, 0, (layout.imageFloats() - end) * sizeof(float));
}

}  // namespace resnet::cpu
