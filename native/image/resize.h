// An image resized as Pillow's Image.resize does, bit for bit; of the result only the window that a preset's crop keeps,
// normalised into the network's input, or as levels for a device that normalises them itself.
//
//   x [H, W, channels] uint8 -> y [planes, height, width] float32, y = (level / 255 - mean) / std
//                            or y [height, width, planes] uint8
//
// Two passes, each rounded to 8 bits, streamed: only the rows that one output row needs are held. Grey spreads over all
// planes. Allocates its scratch (kilobytes); thread-safe. bound: compute, see kernels_avx2.cc.
#pragma once

#include <vector>

#include "core/control.h"
#include "core/status.h"
#include "cpu/isa.h"
#include "image/kernels.h"
#include "image/pixels.h"

namespace resnet::image {

// Where the wanted window lies in one direction: `length` pixels of the resized image from `from` on go to `to` of the
// output; what they do not fill is black.
struct Window {
  int from = 0, length = 0, to = 0;
};

// How an image becomes a network's input. Whoever makes one has checked it: windows within the resized image and within
// the output, mean and std of 1 or 3 planes.
struct Preset {
  Filter filter = Filter::kBilinear;
  int resizedWidth = 0, resizedHeight = 0;
  Window x, y;
  int width = 0, height = 0;  // of the output
  std::vector<float> mean, std;
};

// A preset on images of one size.
class Resize {
 public:
  // `shrink`: how many pixels of the image one of the source's stands for in each direction (2 when it was decoded at
  // half its size, which is then rounded up).
  Resize(const Preset& preset, int imageWidth, int imageHeight, int shrink, cpu::Isa isa);

  // The source pixels that are read.
  Region needed() const;
  // `source` covers needed() and has 1 channel, or as many as there are planes. kAborted between rows.
  Status run(const PixelView& source, float* output, const Control& control) const;
  Status runLevels(const PixelView& source, uint8_t* output, const Control& control) const;

 private:
  struct Passes;
  // take(y, levels of row y of the window) for every row.
  template <typename Take>
  Status eachRow(const PixelView& source, const Control& control, const Take& take) const;
  bool fillsOutput() const;

  Preset preset_;
  const Kernels& kernels_;
  Taps across_, down_;
  bool downFirst_;
  Levels levels_;
};

}  // namespace resnet::image
