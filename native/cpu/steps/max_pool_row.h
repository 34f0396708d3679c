// One output row of one channel block of a max pool: y[q] = max over the window, padding counts as
// -inf; a NaN in the window is the result, as in PyTorch.
// x rows of pixels of 16 channels, y likewise; bounds are cut per pixel, so no halo is needed
// bound: memory; 3x3 at stride 2 reads each input 2.25 times, from L1 and L2. Source: torch
// MaxPool2d
#pragma once

#include <cstddef>
#include <limits>

#include "cpu/layout.h"

namespace resnet::cpu {

struct MaxPoolRow {
  const float* x = nullptr;  // pixel 0 of the first row of the window that lies in the map
  int rows = 0;              // of the window in the map
  ptrdiff_t rowStep = 0;     // floats from one of them to the next
  int width = 0;             // of the map
  int kernel = 1, stride = 1, padding = 0, dilation = 1;  // along the row
  float* y = nullptr;
  int columns = 0;
};

using MaxPoolRowFunction = void (*)(const MaxPoolRow&);
extern const MaxPoolRowFunction kPortableMaxPoolRow, kAvx2MaxPoolRow, kAvx512MaxPoolRow;

namespace {

template <class Lanes>
void maxPoolRow(const MaxPoolRow& a) {
  for (int q = 0; q < a.columns; ++q) {
    const int left = q * a.stride - a.padding;
    int first = 0, end = a.kernel;
    while (first < end && left + first * a.dilation < 0) ++first;
    while (end > first && left + (end - 1) * a.dilation >= a.width) --end;
    for (int lane = 0; lane < kBlock; lane += Lanes::kWidth) {
      typename Lanes::Vector best = Lanes::set(-std::numeric_limits<float>::infinity());
      for (int r = 0; r < a.rows; ++r) {
        const float* row = a.x + r * a.rowStep + lane;
        for (int s = first; s < end; ++s) {
          best = Lanes::max(best, Lanes::load(row + ptrdiff_t(left + s * a.dilation) * kBlock));
        }
      }
      Lanes::store(a.y + ptrdiff_t(q) * kBlock + lane, best);
    }
  }
}

}  // namespace
}  // namespace resnet::cpu
