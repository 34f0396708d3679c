// 8-bit pixels on their way to a network, and the memory that holds them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace resnet::image {

// What a vector load may read past the last pixel that it needs.
inline constexpr size_t kSlackBytes = 16;

// A rectangle of whole pixels within an image.
struct Region {
  int left = 0, top = 0, width = 0, height = 0;
};

// Borrowed: the pixels of `region` of an image, rows from the top, channels interleaved (1 grey, 3 RGB, 4 CMYK).
struct PixelView {
  const uint8_t* data = nullptr;  // of the region's first pixel
  size_t pitch = 0;               // bytes from row to row
  int channels = 0;
  Region region;
  size_t readable = 0;  // bytes from `data` on that may be read

  const uint8_t* row(int y) const {
    return data + size_t(y - region.top) * pitch;
  }  // y: in the image
};

// Owned pixels, every row with slack behind it.
//
// Rows start 16 bytes off a multiple of 32: libjpeg-turbo writes aligned rows past the cache, and they are read back
// at once.
class PixelBuffer {
 public:
  PixelBuffer(Region region, int channels)
      : pitch_((size_t(region.width) * size_t(channels) + kSlackBytes + 31) / 32 * 32),
        channels_(channels),
        region_(region),
        bytes_(new uint8_t[pitch_ * size_t(region.height) + 64]) {
    const size_t misaligned = (16 - reinterpret_cast<uintptr_t>(bytes_.get())) % 32;
    data_ = bytes_.get() + misaligned;
  }

  uint8_t* data() { return data_; }
  size_t pitch() const { return pitch_; }
  PixelView view() const {
    return {data_, pitch_, channels_, region_, pitch_ * size_t(region_.height) + kSlackBytes};
  }

 private:
  size_t pitch_;
  int channels_;
  Region region_;
  std::unique_ptr<uint8_t[]> bytes_;  // not initialised: the decoder writes every pixel
  uint8_t* data_ = nullptr;
};

}  // namespace resnet::image
