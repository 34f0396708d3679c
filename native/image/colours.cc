#include "image/colours.h"

#include <cstring>
#include <vector>

#include "image/kernels.h"

namespace resnet::image {
namespace {

struct Rgb {
  int red, green, blue;
};

// a * b / 255, rounded: PIL's MULDIV255.
int scaled(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

Rgb colourOf(const uint8_t* pixel) {
  const int white = 255 - pixel[3];
  return {white - scaled(pixel[0], white), white - scaled(pixel[1], white),
          white - scaled(pixel[2], white)};
}

uint8_t byteOf(int level) { return uint8_t(level < 0 ? 0 : level); }

// The CMYK row `from` as RGB.
void colourRow(const uint8_t* from, int pixels, uint8_t* to) {
  for (int x = 0; x < pixels; ++x, from += 4, to += 3) {
    const Rgb colour = colourOf(from);
    to[0] = byteOf(colour.red);
    to[1] = byteOf(colour.green);
    to[2] = byteOf(colour.blue);
  }
}

}  // namespace

std::optional<PixelBuffer> convertColours(const PixelView& source, const Region& region, int planes,
                                          cpu::Isa isa) {
  if (source.channels == 1 || source.channels == planes) return std::nullopt;
  const Kernels& kernels = kernelsOf(isa);
  PixelBuffer buffer(region, planes);
  const size_t bytes = size_t(region.width) * 3;
  // What becomes grey: a row with slack behind it, where the source has none or is to become RGB first.
  std::vector<uint8_t> copy(planes == 1 ? bytes + kSlackBytes : 0);
  for (int y = 0; y < region.height; ++y) {
    const uint8_t* from = source.row(region.top + y) +
                          size_t(region.left - source.region.left) * size_t(source.channels);
    uint8_t* to = buffer.data() + size_t(y) * buffer.pitch();
    if (planes == 3) {
      colourRow(from, region.width, to);
      continue;
    }
    if (source.channels == 4) {
      colourRow(from, region.width, copy.data());
      from = copy.data();
    } else if (size_t(from - source.data) + bytes + kSlackBytes > source.readable) {
      std::memcpy(copy.data(), from, bytes);
      from = copy.data();
    }
    kernels.grey(from, region.width, to);
  }
  return buffer;
}

}  // namespace resnet::image
