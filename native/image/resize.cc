#include "image/resize.h"

#include <algorithm>
#include <cstring>

namespace resnet::image {
namespace {

constexpr int kRowsBetweenPolls = 16;

Axis axisOf(int image, int shrink, int resized, const Window& window) {
  return {(image + shrink - 1) / shrink, double(image) / shrink, resized, window.from,
          window.length};
}

// Rounded to float32 after every operation, as PyTorch does.
Levels levelsOf(const Preset& preset, const Kernels& kernels) {
  Levels levels{preset.mean, preset.std, {}};
  levels.table.resize(preset.mean.size() * 256);
  for (size_t i = 0; i < levels.table.size(); ++i) {
    levels.table[i] = (float(i % 256) / 255.0f - preset.mean[i / 256]) / preset.std[i / 256];
  }
  kernels.prepare(levels);
  return levels;
}

}  // namespace

Resize::Resize(const Preset& preset, int imageWidth, int imageHeight, int shrink, cpu::Isa isa)
    : preset_(preset),
      kernels_(kernelsOf(isa)),
      across_(makeTaps(axisOf(imageWidth, shrink, preset.resizedWidth, preset.x), preset.filter)),
      down_(makeTaps(axisOf(imageHeight, shrink, preset.resizedHeight, preset.y), preset.filter)),
      levels_(levelsOf(preset, kernels_)) {
  // Pillow 13 starts with the direction that shrinks the image most; the order shows in the rounding.
  const int sourceWidth = (imageWidth + shrink - 1) / shrink;
  const int sourceHeight = (imageHeight + shrink - 1) / shrink;
  const int shrinkY = sourceHeight - preset.resizedHeight;
  downFirst_ = shrinkY > 0 && shrinkY > 2 * (sourceWidth - preset.resizedWidth);
}

Region Resize::needed() const {
  return {across_.begin, down_.begin, across_.end - across_.begin, down_.end - down_.begin};
}

// The rows of one image on their way through both passes.
struct Resize::Passes {
  const Resize& resize;
  const PixelView& source;
  RowTaps rowTaps;
  size_t outBytes;  // of a row of the window
  std::vector<uint8_t> scratch;
  uint8_t* rowCopy;  // source rows with slack behind them
  size_t copyPitch;
  uint8_t* ring;  // rows after the first pass
  size_t ringPitch;
  int ringRows;
  int nextRow;  // the first source row that is not in the ring yet
  std::vector<const uint8_t*> rows;
  uint8_t* out;

  Passes(const Resize& owner, const PixelView& view) : resize(owner), source(view) {
    const Taps &across = owner.across_, &down = owner.down_;
    const auto channels = size_t(view.channels);
    outBytes = size_t(across.length()) * channels;
    const size_t sourceBytes = size_t(across.end - across.begin) * channels;
    ringPitch = (owner.downFirst_ ? 0 : outBytes) + kSlackBytes;
    ringRows = std::max(down.maxCount, 1) + kRowsAtOnce - 1;
    nextRow = down.begin;
    rows.resize(size_t(ringRows));
    rowTaps.taps = &across;
    if (!across.identity) owner.kernels_.pack(rowTaps, view.channels);
    copyPitch = sourceBytes + kSlackBytes;
    scratch.resize(copyPitch * kRowsAtOnce + ringPitch * size_t(ringRows) + outBytes + kSlackBytes);
    rowCopy = scratch.data();
    ring = rowCopy + copyPitch * kRowsAtOnce;
    out = ring + ringPitch * size_t(ringRows);
  }

  const uint8_t* sourceRow(int y) const {
    return source.row(y) +
           size_t(resize.across_.begin - source.region.left) * size_t(source.channels);
  }

  // The same, with slack that may be read; copied to place `slot` if need be.
  const uint8_t* paddedRow(int y, int slot) {
    const Taps& across = resize.across_;
    const size_t bytes = size_t(across.end - across.begin) * size_t(source.channels);
    const uint8_t* row = sourceRow(y);
    if (size_t(row - source.data) + bytes + kSlackBytes <= source.readable) return row;
    uint8_t* copy = rowCopy + size_t(slot) * copyPitch;
    std::memcpy(copy, row, bytes);
    return copy;
  }

  // Puts the next source rows into the ring; some of them ahead of need, since rows at once share their weights.
  void fillRing() {
    const int count = std::min(kRowsAtOnce, resize.down_.end - nextRow);
    const uint8_t* from[kRowsAtOnce] = {};
    uint8_t* to[kRowsAtOnce] = {};
    for (int r = 0; r < count; ++r) {
      from[r] = paddedRow(nextRow + r, r);
      to[r] = ringRow(nextRow + r);
    }
    resize.kernels_.across(from, count, rowTaps, source.channels, to);
    nextRow += count;
  }

  // Row y of the window, 8-bit.
  const uint8_t* windowRow(int y) {
    return resize.downFirst_ ? downThenAcross(y) : acrossThenDown(y);
  }

  const uint8_t* acrossThenDown(int y) {
    const Taps &across = resize.across_, &down = resize.down_;
    const int first = down.first[size_t(y)], count = down.count[size_t(y)];
    if (across.identity) {
      for (int n = 0; n < count; ++n) rows[size_t(n)] = sourceRow(first + n);
    } else {
      nextRow = std::max(nextRow, first);
      while (nextRow < first + count) fillRing();
      for (int n = 0; n < count; ++n) rows[size_t(n)] = ringRow(first + n);
    }
    if (down.identity) return rows[0];
    resize.kernels_.down(rows.data(), weightsDown(y), count, int(outBytes), out);
    return out;
  }

  const uint8_t* downThenAcross(int y) {
    const Taps &across = resize.across_, &down = resize.down_;
    const int first = down.first[size_t(y)], count = down.count[size_t(y)];
    for (int n = 0; n < count; ++n) rows[size_t(n)] = sourceRow(first + n);
    const int bytes = (across.end - across.begin) * source.channels;
    resize.kernels_.down(rows.data(), weightsDown(y), count, bytes, rowCopy);
    if (across.identity) return rowCopy;
    const uint8_t* from = rowCopy;
    resize.kernels_.across(&from, 1, rowTaps, source.channels, &out);
    return out;
  }

  uint8_t* ringRow(int y) { return ring + size_t(y % ringRows) * ringPitch; }
  const int32_t* weightsDown(int y) const {
    return resize.down_.weights.data() + size_t(y) * size_t(resize.down_.stride);
  }
};

template <typename Take>
Status Resize::eachRow(const PixelView& source, const Control& control, const Take& take) const {
  Passes passes(*this, source);
  for (int y = 0; y < down_.length(); ++y) {
    if (y % kRowsBetweenPolls == 0 && control.stop()) return Status::aborted();
    take(y, passes.windowRow(y));
  }
  return Status::okay();
}

bool Resize::fillsOutput() const {
  return across_.length() == preset_.width && down_.length() == preset_.height;
}

Status Resize::run(const PixelView& source, float* output, const Control& control) const {
  const int planeCount = int(preset_.mean.size());
  const size_t plane = size_t(preset_.width) * size_t(preset_.height);
  if (!fillsOutput()) {
    for (int c = 0; c < planeCount; ++c) {
      std::fill_n(output + size_t(c) * plane, plane, levels_.table[size_t(c) * 256]);
    }
  }
  return eachRow(source, control, [&](int y, const uint8_t* row) {
    float* planes[3] = {};
    for (int c = 0; c < planeCount; ++c) {
      planes[c] = output + size_t(c) * plane + size_t(preset_.y.to + y) * size_t(preset_.width) +
                  size_t(preset_.x.to);
    }
    kernels_.normalise(row, across_.length(), source.channels, levels_, planes);
  });
}

Status Resize::runLevels(const PixelView& source, uint8_t* output, const Control& control) const {
  const size_t planes = preset_.mean.size(), pitch = size_t(preset_.width) * planes;
  if (!fillsOutput()) std::memset(output, 0, pitch * size_t(preset_.height));
  return eachRow(source, control, [&](int y, const uint8_t* row) {
    uint8_t* to = output + size_t(preset_.y.to + y) * pitch + size_t(preset_.x.to) * planes;
    if (size_t(source.channels) == planes) {
      std::memcpy(to, row, size_t(across_.length()) * planes);
      return;
    }
    for (int x = 0; x < across_.length(); ++x, to += planes) std::fill_n(to, planes, row[x]);
  });
}

}  // namespace resnet::image
