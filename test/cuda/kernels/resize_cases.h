// Op cases of resizing, against Pillow's own results.
#pragma once

#include <algorithm>
#include <map>

#include "op_case.h"

namespace resnet::test {

// A picture resized as Pillow 13.0 does it, level for level: two passes in the order that Pillow takes.
class Picture {
 public:
  Picture(int height, int width, int c)
      : height(height), width(width), c(c), levels(size_t(height) * width * c) {}
  uint8_t& at(int y, int x, int channel) { return levels[(size_t(y) * width + x) * c + channel]; }

  Picture along(bool rows, int length) {
    const int before = rows ? height : width;
    Picture result(rows ? length : height, rows ? width : length, c);
    const double scale = double(before) / length, reach = std::max(scale, 1.0);
    for (int i = 0; i < length; ++i) {
      const double centre = (i + 0.5) * scale;
      std::map<int, double> weights;
      double sum = 0;
      for (int j = int(std::max(centre - reach + 0.5, 0.0));
           j < before && j < int(centre + reach + 0.5); ++j) {
        weights[j] = std::max(0.0, 1 - std::abs((j - centre + 0.5) * (1 / reach)));
        sum += weights[j];
      }
      for (int other = 0; other < (rows ? width : height); ++other) {
        for (int channel = 0; channel < c; ++channel) {
          int64_t total = 1 << 21;
          for (const auto& [j, weight] : weights) {
            total += int64_t(weight / sum * (1 << 22) + 0.5) *
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
  uint64_t digest;  // of the whole resized picture, computed with Pillow 13.0.0
  int top, left, h, w;
};
constexpr ResizeRow kResizeRows[] = {
    {37, 29, 3, 16, 13, 1723818261536480245u, 0, 0, 16, 13},
    {40, 31, 3, 24, 18, 13215632173186258563u, 3, 2, 17, 14},
    {200, 20, 3, 15, 10, 4436622887038369940u, 2, 1, 11, 8},
    {9, 11, 3, 23, 27, 14179321353516026352u, 4, 5, 15, 16},
    {16, 16, 1, 16, 16, 16101913633932172002u, 1, 1, 14, 14},
    {30, 90, 4, 10, 15, 8158853896960730849u, 0, 2, 10, 11},
    {64, 48, 3, 1, 1, 3439966278972833558u, 0, 0, 1, 1},
    {90, 30, 3, 10, 15, 17012168225959707545u, 1, 0, 8, 15},
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
  return picture.along(verticalFirst, verticalFirst ? row.toHeight : row.toWidth)
      .along(!verticalFirst, verticalFirst ? row.toWidth : row.toHeight);
}

inline void addResizes(std::vector<OpCase>& list) {
  for (const ResizeRow& row : kResizeRows) {
    for (DType dtype : kFloats) {
      for (Placement placement : kPlacements) {
        const Shape shape{1, row.h, row.w, row.c};
        list.push_back({"resize",
                        title("resize", dtype, shape, {placement, placement}) + " from " +
                            std::to_string(row.height) + "x" + std::to_string(row.width) + " by " +
                            std::to_string(row.toHeight) + "x" + std::to_string(row.toWidth),
                        [=](const Ops& ops, Report& report) {
                          const Picture picture = pictureOf(row);
                          Guarded source(picture.levels.size());
                          std::memcpy(source.data(), picture.levels.data(), picture.levels.size());
                          const auto mean = floats(row.c, 7, 0.4, 0.6),
                                     deviation = floats(row.c, 8, 0.2, 0.3);
                          Value to(shape, dtype, placement);
                          cuda::ResizeArguments arguments{source.as<uint8_t>(),
                                                          row.height,
                                                          row.width,
                                                          row.toHeight,
                                                          row.toWidth,
                                                          row.top,
                                                          row.left,
                                                          mean->as<float>(),
                                                          deviation->as<float>(),
                                                          to.view};
                          Guarded scratch(ops.resizeScratchFloats(arguments) * 4);
                          arguments.scratch = scratch.as<float>();
                          succeeded(report, ops.resize(arguments, nullptr));
                          scratch.check(report, "scratch");
                          Picture expected = resized(picture, row);
                          if (expected.digest() != row.digest) {
                            report.add("the reference differs from Pillow's digest");
                          }
                          to.check(
                              report,
                              [&](int, int y, int x, int c) {
                                const double level =
                                    expected.at(row.top + y, row.left + x, c) / 255.0;
                                return (level - mean->as<float>()[c]) / deviation->as<float>()[c];
                              },
                              toleranceOf(dtype));
                        }});
      }
    }
  }
}

}  // namespace resnet::test
