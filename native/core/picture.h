// A decoded picture on its way into a network that resizes it where it runs: what a preset makes of it.
#pragma once

#include <cstddef>
#include <string>

namespace resnet {

enum class Interpolation { kBilinear, kBicubic };

// One direction of a resize and a crop. Whoever makes one has checked that the window lies within the
// resized picture.
struct PictureAxis {
  double extent =
      0;  // what `size` pixels stand for: twice as many where half were decoded; may be fractional
  int size = 0;  // pixels of the picture
  int first = 0,
      held = 0;     // of these, [first, first + held) are in memory: all that the window is made of
  int resized = 0;  // pixels after the resize
  // [from, from + length) of these become pixels to, to + 1, … of the input; what they do not fill is black.
  int from = 0, length = 0, to = 0;
};

struct Picture {
  PictureAxis x, y;
  int channels = 0;  // interleaved; 1, which goes to all of the network's, or as many as those
  size_t pitch = 0;  // bytes from row to row of what is in memory

  size_t heldBytes() const { return size_t(x.held) * size_t(y.held) * size_t(channels); }
};

// Why a picture is none for an input of h x w x c; empty when it is.
inline std::string pictureMisfit(const Picture& picture, int h, int w, int c) {
  const auto outside = [](const PictureAxis& axis, int size) {
    return axis.length < 1 || axis.to < 0 || axis.length > size || axis.to > size - axis.length;
  };
  if (picture.channels != 1 && picture.channels != c)
    return "it has " + std::to_string(picture.channels) + " channels, the network " +
           std::to_string(c);
  if (outside(picture.x, w) || outside(picture.y, h))
    return "its window is larger than the input's " + std::to_string(h) + " x " + std::to_string(w);
  return {};
}

}  // namespace resnet
