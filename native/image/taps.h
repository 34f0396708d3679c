// Which source pixels make an output pixel in one direction of a resize, and with what weights: Pillow's, to the bit.
//
// Source: Pillow's resampling of 8-bit images (antialiased: the filter widens with the shrink factor; its support is 1
// for bilinear, 2 for Keys' cubic with a = -0.5); weights in fixed point of 22 bits, sums in int32.
#pragma once

#include <cstdint>
#include <vector>

#include "core/picture.h"

namespace resnet::image {

using Filter = Interpolation;

// One direction. Of an image shrunk while it was decoded, `extent` is what `size` pixels stand for.
struct Axis {
  int size = 0;       // source pixels
  double extent = 0;  // the same as a length; may be fractional
  int resized = 0;    // pixels after the resize
  int from = 0;       // the window of them that is wanted
  int length = 0;
};

inline constexpr int kPrecision = 22;
// Taps come in groups, filled up with weights of 0; a weight is hi * 2^11 + lo, so that both fit 16-bit products.
inline constexpr int kTapGroup = 4;
inline constexpr int kLowBits = 11;

struct Taps {
  bool identity = false;         // every output pixel is its source pixel
  int stride = 0;                // weights per output pixel, a multiple of kTapGroup
  std::vector<int32_t> first;    // [length] source pixel of the first tap
  std::vector<int32_t> count;    // [length]
  std::vector<int32_t> weights;  // [length][stride]
  int begin = 0, end = 0;        // source pixels that any tap reads
  int maxCount = 0;

  int length() const { return int(first.size()); }
};

Taps makeTaps(const Axis& axis, Filter filter);

}  // namespace resnet::image
