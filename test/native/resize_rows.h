// The table of resizes: pictures, sizes and windows, with digests of what Pillow 13.0.0 makes of them. The CPU's tiers
// (image_test.cc) and our CUDA kernel (test/cuda/kernels/resize_cases.h) run all of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "op_rows.h"

namespace resnet::test {

// One direction of a resize, as Pillow has it: which inputs an output reads.
struct Direction {
  int size, to;
  double extent;
  bool bicubic;

  double scale() const { return extent / to; }
  double widened() const { return std::max(scale(), 1.0); }
  double reach() const { return (bicubic ? 2.0 : 1.0) * widened(); }
  double centre(int i) const { return (i + 0.5) * scale(); }
  int begin(int i) const { return std::max(int(centre(i) - reach() + 0.5), 0); }
  int end(int i) const { return std::min(int(centre(i) + reach() + 0.5), size); }
  double weight(int i, int j) const {
    const double t = std::abs((j - centre(i) + 0.5) * (1 / widened()));
    if (!bicubic) return std::max(0.0, 1 - t);
    if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
    return t < 2 ? (((t - 5) * t + 8) * t - 4) * -0.5 : 0;
  }
};

// A picture resized as Pillow 13.0 does it, level for level: two passes in the order that Pillow takes.
class Picture {
 public:
  Picture(int height, int width, int c)
      : height(height), width(width), c(c), levels(size_t(height) * width * c) {}
  uint8_t& at(int y, int x, int channel) { return levels[(size_t(y) * width + x) * c + channel]; }

  Picture along(bool rows, const Direction& direction) {
    Picture result(rows ? direction.to : height, rows ? width : direction.to, c);
    for (int i = 0; i < direction.to; ++i) {
      double sum = 0;
      for (int j = direction.begin(i); j < direction.end(i); ++j) sum += direction.weight(i, j);
      for (int other = 0; other < (rows ? width : height); ++other) {
        for (int channel = 0; channel < c; ++channel) {
          int64_t total = 1 << 21;
          for (int j = direction.begin(i); j < direction.end(i); ++j) {
            const double weight = direction.weight(i, j) / sum;
            total += int64_t(weight * (1 << 22) + (weight < 0 ? -0.5 : 0.5)) *
                     (rows ? at(j, other, channel) : at(other, j, channel));
          }
          (rows ? result.at(i, other, channel) : result.at(other, i, channel)) =
              uint8_t(std::clamp<int64_t>(total >> 22, 0, 255));
        }
      }
    }
    return result;
  }
  uint64_t digest() const {  // FNV-1a
    uint64_t hash = 14695981039346656037u;
    for (uint8_t level : levels) hash = (hash ^ level) * 1099511628211u;
    return hash;
  }

  int height, width, c;
  std::vector<uint8_t> levels;
};

struct ResizeRow {
  int height, width, c, toHeight, toWidth;
  bool bicubic;
  uint64_t digest;  // of the whole resized picture, computed with Pillow 13.0.0
  int top, left, h, w;
  // The rest is another window and channels of the input, and extents that are not the sizes.
  struct {
    int c = 0, h = 0, w = 0, top = 0, left = 0;
  } in = {};
  double extentHeight = 0, extentWidth = 0;

  Direction down() const {
    return {height, toHeight, extentHeight > 0 ? extentHeight : height, bicubic};
  }
  Direction across() const {
    return {width, toWidth, extentWidth > 0 ? extentWidth : width, bicubic};
  }
  Shape shape() const { return in.c > 0 ? Shape{1, in.h, in.w, in.c} : Shape{1, h, w, c}; }
  // Where the resized picture's element of the input's pixel lies; false: around it is black.
  bool inside(int y, int x) const {
    return y >= in.top && y < in.top + h && x >= in.left && x < in.left + w;
  }
};
constexpr ResizeRow kResizeRows[] = {
    {37, 29, 3, 16, 13, false, 1723818261536480245u, 0, 0, 16, 13},
    {40, 31, 3, 24, 18, false, 13215632173186258563u, 3, 2, 17, 14},
    {200, 20, 3, 15, 10, false, 4436622887038369940u, 2, 1, 11, 8},
    {9, 11, 3, 23, 27, false, 14179321353516026352u, 4, 5, 15, 16},
    {16, 16, 1, 16, 16, false, 16101913633932172002u, 1, 1, 14, 14},
    {30, 90, 4, 10, 15, false, 8158853896960730849u, 0, 2, 10, 11},
    {64, 48, 3, 1, 1, false, 3439966278972833558u, 0, 0, 1, 1},
    {90, 30, 3, 10, 15, false, 17012168225959707545u, 1, 0, 8, 15},
    {37, 29, 3, 16, 13, true, 10201140601393063740u, 0, 0, 16, 13},
    {40, 31, 3, 24, 18, true, 6821432662379480770u, 3, 2, 17, 14},
    {200, 20, 3, 15, 10, true, 517040326622944308u, 2, 1, 11, 8},
    {9, 11, 3, 23, 27, true, 3889332224758420889u, 4, 5, 15, 16},
    {16, 16, 1, 16, 16, true, 16101913633932172002u, 1, 1, 14, 14},
    {64, 48, 3, 1, 1, true, 3439966278972833558u, 0, 0, 1, 1},
    {90, 30, 3, 10, 15, true, 8407808477995772421u, 1, 0, 8, 15},
    // decoded at half the size: 18.5 x 14.5 pixels in 19 x 15
    {19, 15, 3, 11, 9, false, 14693338428094483367u, 1, 2, 9, 7, {}, 18.5, 14.5},
    {19, 15, 3, 11, 9, true, 17014660105639586225u, 0, 0, 11, 9, {}, 18.5, 14.5},
    // an input larger than the picture in both directions, and in one
    {20, 14, 3, 10, 7, true, 14069239220923273359u, 0, 0, 10, 7, {3, 13, 12, 1, 2}},
    {20, 14, 3, 10, 7, false, 6026611563060484235u, 2, 0, 6, 7, {3, 6, 9, 0, 1}},
    // grey for three channels
    {20, 14, 1, 10, 7, false, 8053157701220143176u, 0, 0, 10, 7, {3, 12, 8, 1, 0}},
};

inline Picture pictureOf(const ResizeRow& row) {
  Picture picture(row.height, row.width, row.c);
  for (size_t i = 0; i < picture.levels.size(); ++i) {
    picture.levels[i] = uint8_t((i * 2654435761u >> 13) ^ (i / 11));
  }
  return picture;
}
inline Picture resized(Picture picture, const ResizeRow& row) {
  const int shrinkY = row.height - row.toHeight, shrinkX = row.width - row.toWidth;
  const bool verticalFirst = shrinkY > 0 && shrinkY > 2 * shrinkX;
  return picture.along(verticalFirst, verticalFirst ? row.down() : row.across())
      .along(!verticalFirst, verticalFirst ? row.across() : row.down());
}

inline std::string resizeName(const ResizeRow& row) {
  return std::string(row.bicubic ? " bicubic" : " bilinear") + " from " +
         std::to_string(row.height) + "x" + std::to_string(row.width) + " by " +
         std::to_string(row.toHeight) + "x" + std::to_string(row.toWidth);
}

}  // namespace resnet::test
