#include "image/colours.h"

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

Rgb colourOf(const uint8_t* pixel, int channels) {
  if (channels == 3) return {pixel[0], pixel[1], pixel[2]};
  const int white = 255 - pixel[3];
  return {white - scaled(pixel[0], white), white - scaled(pixel[1], white),
          white - scaled(pixel[2], white)};
}

// ITU-R 601 in 16 bits of precision.
uint8_t greyOf(const Rgb& colour) {
  return uint8_t((colour.red * 19595 + colour.green * 38470 + colour.blue * 7471 + 0x8000) >> 16);
}

uint8_t byteOf(int level) { return uint8_t(level < 0 ? 0 : level); }

}  // namespace

std::optional<PixelBuffer> convertColours(const PixelView& source, const Region& region,
                                          int planes) {
  if (source.channels == 1 || source.channels == planes) return std::nullopt;
  PixelBuffer buffer(region, planes);
  for (int y = 0; y < region.height; ++y) {
    const uint8_t* from = source.row(region.top + y) +
                          size_t(region.left - source.region.left) * size_t(source.channels);
    uint8_t* to = buffer.data() + size_t(y) * buffer.pitch();
    for (int x = 0; x < region.width; ++x, from += source.channels, to += planes) {
      const Rgb colour = colourOf(from, source.channels);
      if (planes == 1) {
        *to = greyOf(colour);
        continue;
      }
      to[0] = byteOf(colour.red);
      to[1] = byteOf(colour.green);
      to[2] = byteOf(colour.blue);
    }
  }
  return buffer;
}

}  // namespace resnet::image
