// The common table of resizes on the kernel: in every float type and placement.
#pragma once

#include "op_case.h"
#include "test/native/resize_rows.h"

namespace resnet::test {

// What a window of a direction reads is held in memory, and nothing else.
inline PictureAxis axisOf(const Direction& direction, int from, int length, int to) {
  const int first = direction.begin(from), end = direction.end(from + length - 1);
  return {direction.extent, direction.size, first, end - first, direction.to, from, length, to};
}

inline void checkResize(const ResizeRow& row, DType dtype, Placement placement, const Ops& ops,
                        Report& report) {
  Picture picture = pictureOf(row);
  const Shape shape = row.shape();
  resnet::Picture geometry{axisOf(row.across(), row.left, row.w, row.in.left),
                           axisOf(row.down(), row.top, row.h, row.in.top), row.c, 0};
  const size_t rowBytes = size_t(geometry.x.held) * row.c;
  geometry.pitch = rowBytes + 5;
  Guarded source(geometry.pitch * (geometry.y.held - 1) + rowBytes);
  for (int y = 0; y < geometry.y.held; ++y) {
    std::memcpy(source.data() + y * geometry.pitch,
                &picture.at(geometry.y.first + y, geometry.x.first, 0), rowBytes);
  }
  const auto mean = floats(shape.c, 7, 0.4, 0.6), deviation = floats(shape.c, 8, 0.2, 0.3);
  Value to(shape, dtype, placement);
  cuda::ResizeArguments arguments;
  arguments.source = source.as<uint8_t>();
  arguments.picture = geometry;
  arguments.interpolation = row.bicubic ? Interpolation::kBicubic : Interpolation::kBilinear;
  arguments.mean = mean->as<float>();
  arguments.std = deviation->as<float>();
  arguments.to = to.view;
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
        const int level = row.inside(y, x)
                              ? expected.at(row.top + y - row.in.top, row.left + x - row.in.left,
                                            row.c == 1 ? 0 : c)
                              : 0;
        return (level / 255.0 - mean->as<float>()[c]) / deviation->as<float>()[c];
      },
      toleranceOf(dtype));
}

inline void addResizes(std::vector<OpCase>& list) {
  for (const ResizeRow& row : kResizeRows) {
    for (DType dtype : kFloats) {
      for (Placement placement : kPlacements) {
        const std::string name =
            title("resize", dtype, row.shape(), {placement, placement}) + resizeName(row);
        list.push_back({"resize", name, [=](const Ops& ops, Report& report) {
                          checkResize(row, dtype, placement, ops, report);
                        }});
      }
    }
  }
}

}  // namespace resnet::test
