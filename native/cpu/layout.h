// How the CPU backend holds a value in memory, per image. Two forms, both float32:
//
//   blocked  [C/16][H + 2 halo][W + 2 halo][16]   channels padded with zeros to a multiple of 16
//   thin     [H + 2 halo][W + 2 halo][C]          for C <= 4: the network's input, read by the stem
//
// The halo is zero padding held in memory, so that a convolution's inner loop has no bounds:
// whoever writes a value writes its halo too (zeroHalo* below). Vectors (1 x 1 x C) are blocked
// without halo, which makes them plain [C] arrays padded to 16. int32 values are vectors too.
#pragma once

#include <cstddef>
#include <type_traits>

namespace resnet::cpu {

inline constexpr int kBlock = 16;

template <typename T>
constexpr T ceilDiv(T a, std::type_identity_t<T> b) {
  return (a + b - 1) / b;
}

struct Layout {
  bool thin = false;
  int h = 1, w = 1, c = 1;
  int halo = 0;

  int blocks() const { return ceilDiv(c, kBlock); }
  int channelPitch() const { return thin ? c : kBlock; }  // floats from pixel to pixel
  size_t rowPitch() const {
    return size_t(w + 2 * halo) * channelPitch();
  }  // floats from row to row
  size_t blockPitch() const {
    return size_t(h + 2 * halo) * rowPitch();
  }  // floats from block to block
  size_t origin() const {
    return halo * rowPitch() + size_t(halo) * channelPitch();
  }  // of pixel (0, 0)
  // Floats of one image, rounded to a cache line; a thin image has 16 floats of slack for vector
  // reads.
  size_t imageFloats() const {
    size_t n = thin ? blockPitch() + kBlock : blocks() * blockPitch();
    return ceilDiv(n, kBlock) * kBlock;
  }
  // Offset in floats of pixel (y, x) of channel block b (blocked) or channel 0 (thin).
  size_t at(int b, int y, int x) const {
    return (thin ? 0 : b * blockPitch()) + origin() + y * rowPitch() + size_t(x) * channelPitch();
  }
};

// A value's images of the current chunk: image i at data + i * imageStride. For int32 values
// reinterpret.
struct View {
  float* data = nullptr;
  size_t imageStride = 0;
  const Layout* layout = nullptr;

  float* image(int i) const { return data + i * imageStride; }
};

}  // namespace resnet::cpu
