// Resizing in every tier, level for level as Pillow on the common table, and decoding regions of JPEGs. More of Pillow's own
// results: test/image-parity.test.ts.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "check.h"
#include "image/colours.h"
#include "image/resize.h"
#include "image/turbo_jpeg.h"
#include "resize_rows.h"
#include "turbo_jpeg_library.h"

namespace {

using namespace resnet;
using namespace resnet::image;
using test::encodeJpeg;
using test::JpegOptions;
using test::testPixels;

Preset presetOf(int planes, Filter filter, int resizedWidth, int resizedHeight, Window x, Window y,
                int width, int height) {
  return {filter,
          resizedWidth,
          resizedHeight,
          x,
          y,
          width,
          height,
          std::vector<float>(size_t(planes), 0.45f),
          std::vector<float>(size_t(planes), 0.22f)};
}

constexpr float kGuard = 12345.0f;
constexpr size_t kGuards = 16;

// The result between guards; NaN where nothing was written.
std::vector<float> resized(const Preset& preset, const PixelView& source, int width, int height,
                           cpu::Isa isa) {
  const size_t elements = size_t(preset.width) * size_t(preset.height) * preset.mean.size();
  std::vector<float> buffer(elements + 2 * kGuards, kGuard);
  std::fill_n(buffer.begin() + kGuards, elements, std::numeric_limits<float>::quiet_NaN());
  const Resize resize(preset, width, height, 1, isa);
  CHECK(resize.run(source, buffer.data() + kGuards, Control{}).ok());
  for (size_t i = 0; i < kGuards; ++i) {
    CHECK_EQ(buffer[i], kGuard);
    CHECK_EQ(buffer[buffer.size() - 1 - i], kGuard);
  }
  return {buffer.begin() + kGuards, buffer.end() - kGuards};
}

// Bytes that end where the allocation does: a sanitizer sees a read beyond.
PixelView viewOf(const std::vector<uint8_t>& pixels, int width, int height, int channels) {
  return {pixels.data(),
          size_t(width) * size_t(channels),
          channels,
          {0, 0, width, height},
          pixels.size()};
}

void checkSame(const std::vector<float>& got, const std::vector<float>& expected,
               const std::string& name) {
  size_t wrong = 0, first = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::memcmp(&got[i], &expected[i], sizeof(float)) == 0) continue;
    if (wrong++ == 0) first = i;
  }
  if (wrong == 0) return;
  test::fault(__FILE__, __LINE__,
              name + ": " + std::to_string(wrong) + " of " + std::to_string(expected.size()) +
                  " differ, first [" + std::to_string(first) + "] " + std::to_string(got[first]) +
                  " for " + std::to_string(expected[first]));
}

struct SizeCase {
  int width, height, resizedWidth, resizedHeight;
};
// Shrinking a little and a lot, in one direction, enlarging, tall and wide, one pixel, widths around a vector.
const SizeCase kSizes[] = {
    {500, 375, 341, 256}, {61, 47, 13, 11}, {31, 64, 31, 20}, {64, 31, 20, 31},    {5, 300, 9, 40},
    {300, 5, 40, 9},      {17, 19, 50, 61}, {1, 1, 7, 3},     {33, 33, 33, 33},    {700, 12, 3, 11},
    {12, 900, 11, 3},     {43, 32, 42, 31}, {44, 33, 11, 32}, {240, 320, 224, 298}};

TEST("resize: every tier gives the bits of plain C++") {
  for (const cpu::IsaSupport& support : cpu::hostIsas()) {
    if (support.isa == cpu::Isa::kPortable) continue;
    if (!support.supported) {
      test::skip(std::string("resize [") + cpu::isaName(support.isa) + "]", support.reason);
      continue;
    }
    for (const SizeCase& size : kSizes) {
      for (const Filter filter : {Filter::kBilinear, Filter::kBicubic}) {
        for (const int channels : {1, 3}) {
          const auto pixels = testPixels(size.width, size.height, channels);
          const int w = size.resizedWidth, h = size.resizedHeight;
          const Window x{w / 5, w - w / 5 - w / 7, 1}, y{h / 6, h - h / 6 - h / 4, 2};
          const Preset preset = presetOf(3, filter, w, h, x, y, x.length + 3, y.length + 2);
          const PixelView view = viewOf(pixels, size.width, size.height, channels);
          checkSame(resized(preset, view, size.width, size.height, support.isa),
                    resized(preset, view, size.width, size.height, cpu::Isa::kPortable),
                    std::to_string(size.width) + "x" + std::to_string(size.height) + " to " +
                        std::to_string(w) + "x" + std::to_string(h) + " c" +
                        std::to_string(channels) + (filter == Filter::kBicubic ? " bicubic" : "") +
                        " [" + cpu::isaName(support.isa) + "]");
        }
      }
    }
  }
}

// A row's window in levels, on one tier; what is wrong, or nothing.
std::string resizeError(const test::ResizeRow& row, cpu::Isa isa) {
  test::Picture picture = test::pictureOf(row);
  test::Picture expected = test::resized(picture, row);
  if (expected.digest() != row.digest) return "the reference differs from Pillow's digest";
  const test::Shape shape = row.shape();
  const Window x{row.left, row.w, row.in.left}, y{row.top, row.h, row.in.top};
  const Preset preset = presetOf(shape.c, row.bicubic ? Filter::kBicubic : Filter::kBilinear,
                                 row.toWidth, row.toHeight, x, y, shape.w, shape.h);
  // Of a picture that was decoded at half its size the extents are half of that.
  const bool halved = row.extentWidth > 0;
  const int width = halved ? int(2 * row.extentWidth) : row.width;
  const int height = halved ? int(2 * row.extentHeight) : row.height;
  const Resize resize(preset, width, height, halved ? 2 : 1, isa);
  std::vector<uint8_t> levels(shape.count() + 2 * kGuards, 0xA5);
  const PixelView view = viewOf(picture.levels, row.width, row.height, row.c);
  if (!resize.run(view, std::vector<float>(shape.count()).data(), Control{}).ok() ||
      !resize.runLevels(view, levels.data() + kGuards, Control{}).ok())
    return "it was refused";
  for (int i = 0; i < shape.h; ++i)
    for (int j = 0; j < shape.w; ++j)
      for (int c = 0; c < shape.c; ++c) {
        const uint8_t level = row.inside(i, j)
                                  ? expected.at(row.top + i - row.in.top,
                                                row.left + j - row.in.left, row.c == 1 ? 0 : c)
                                  : 0;
        const uint8_t got = levels[kGuards + test::placeOf(shape, 0, i, j, c)];
        if (got != level)
          return std::string("y") + std::to_string(i) + " x" + std::to_string(j) + " c" +
                 std::to_string(c) + " is " + std::to_string(got) + ", expected " +
                 std::to_string(level);
      }
  for (size_t i = 0; i < kGuards; ++i)
    if (levels[i] != 0xA5 || levels[levels.size() - 1 - i] != 0xA5) return "wrote outside";
  return {};
}

TEST("resize: every row of the common table, in every tier, is Pillow's to the level") {
  int run = 0, others = 0;
  for (const cpu::IsaSupport& support : cpu::hostIsas()) {
    if (!support.supported) {
      test::skip(std::string("resize rows [") + cpu::isaName(support.isa) + "]", support.reason);
      continue;
    }
    for (const test::ResizeRow& row : test::kResizeRows) {
      // Networks here take one plane or three.
      if (row.shape().c != 1 && row.shape().c != 3) {
        ++others;
        continue;
      }
      ++run;
      const std::string error = resizeError(row, support.isa);
      if (!error.empty())
        test::fault(__FILE__, __LINE__,
                    test::shapeName(row.shape()) + test::resizeName(row) + " [" +
                        cpu::isaName(support.isa) + "]: " + error);
    }
  }
  std::printf("  %d rows by tier, %d of four channels left to the device\n", run, others);
}

TEST("resize: keeps every level when the size stays, and fills around with black") {
  std::vector<uint8_t> pixels(256);
  for (int i = 0; i < 256; ++i) pixels[size_t(i)] = uint8_t(i);
  for (const Filter filter : {Filter::kBilinear, Filter::kBicubic}) {
    const Preset preset = presetOf(1, filter, 256, 1, {0, 256, 1}, {0, 1, 1}, 258, 3);
    const auto result = resized(preset, viewOf(pixels, 256, 1, 1), 256, 1, cpu::Isa::kPortable);
    for (int i = 0; i < 256; ++i) {
      CHECK_EQ(result[size_t(258 + 1 + i)], (float(i) / 255.0f - 0.45f) / 0.22f);
    }
    for (const size_t border : {size_t(0), size_t(257), size_t(258), size_t(515), size_t(773)}) {
      CHECK_EQ(result[border], -0.45f / 0.22f);
    }
  }
}

TEST("resize: stops when its control is cancelled") {
  const auto pixels = testPixels(40, 40, 3);
  const Preset preset = presetOf(3, Filter::kBilinear, 20, 20, {0, 20, 0}, {0, 20, 0}, 20, 20);
  Control control;
  control.cancelled = true;
  std::vector<float> output(3 * 20 * 20);
  const Resize resize(preset, 40, 40, 1, cpu::Isa::kPortable);
  CHECK(resize.run(viewOf(pixels, 40, 40, 3), output.data(), control).code == Code::kAborted);
}

TEST("colours: CMYK and grey as PIL converts them") {
  const std::vector<uint8_t> cmyk = {0, 0, 0, 0, 255, 0, 128, 0, 10, 200, 30, 100, 1, 2, 3, 255};
  const auto rgb = convertColours(viewOf(cmyk, 4, 1, 4), {0, 0, 4, 1}, 3, cpu::Isa::kPortable);
  const uint8_t expected[] = {255, 255, 255, 0, 255, 127, 149, 33, 137, 0, 0, 0};
  CHECK(rgb.has_value() && std::memcmp(rgb->view().data, expected, sizeof expected) == 0);
  const std::vector<uint8_t> colours = {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255};
  const auto grey = convertColours(viewOf(colours, 4, 1, 3), {0, 0, 4, 1}, 1, cpu::Isa::kPortable);
  const uint8_t levels[] = {76, 150, 29, 255};
  CHECK(grey.has_value() && std::memcmp(grey->view().data, levels, sizeof levels) == 0);
  CHECK(
      !convertColours(viewOf(colours, 4, 1, 3), {0, 0, 4, 1}, 3, cpu::Isa::kPortable).has_value());
}

TEST("colours: every tier gives the grey of plain C++") {
  for (const cpu::IsaSupport& support : cpu::hostIsas()) {
    if (support.isa == cpu::Isa::kPortable) continue;
    if (!support.supported) {
      test::skip(std::string("colours [") + cpu::isaName(support.isa) + "]", support.reason);
      continue;
    }
    for (const int channels : {3, 4}) {
      for (const int width : {1, 15, 16, 17, 33, 500}) {
        const int height = 3;
        const auto pixels = testPixels(width, height, channels);
        const PixelView view = viewOf(pixels, width, height, channels);
        const Region region{width / 4, 1, width - width / 4, 2};
        const auto got = convertColours(view, region, 1, support.isa);
        const auto expected = convertColours(view, region, 1, cpu::Isa::kPortable);
        CHECK(got.has_value() && expected.has_value());
        for (int y = region.top; y < region.top + region.height; ++y) {
          CHECK(std::memcmp(got->view().row(y), expected->view().row(y), size_t(region.width)) ==
                0);
        }
      }
    }
    // Every level of every colour beside black and white of the others.
    std::vector<uint8_t> extremes;
    for (int level = 0; level < 256; ++level) {
      for (const int other : {0, 255}) {
        for (int channel = 0; channel < 3; ++channel) {
          for (int c = 0; c < 3; ++c) extremes.push_back(uint8_t(c == channel ? level : other));
        }
      }
    }
    const int width = int(extremes.size() / 3);
    const PixelView view = viewOf(extremes, width, 1, 3);
    const auto got = convertColours(view, {0, 0, width, 1}, 1, support.isa);
    const auto expected = convertColours(view, {0, 0, width, 1}, 1, cpu::Isa::kPortable);
    CHECK(std::memcmp(got->view().data, expected->view().data, size_t(width)) == 0);
  }
}

const TurboJpeg* library(const std::string& test) {
  const auto opened = TurboJpeg::open(test::turboJpegPath());
  if (opened.ok()) return opened.value();
  test::skip(test, opened.status().message);
  return nullptr;
}

JpegRequest requestOf(const std::vector<uint8_t>& file, int width, int height, Region needed) {
  return {file.data(), file.size(), width, height, false, needed};
}

// The needed pixels of a region are those of the whole image.
void checkRegion(const TurboJpeg& jpeg, const std::vector<uint8_t>& file,
                 const JpegOptions& options, const Region& needed, bool halved) {
  const int shrink = halved ? 2 : 1;
  const int width = (options.width + shrink - 1) / shrink;
  const int height = (options.height + shrink - 1) / shrink;
  JpegRequest request = requestOf(file, options.width, options.height, {0, 0, width, height});
  request.halved = halved;
  auto whole = jpeg.decode(request);
  request.needed = needed;
  auto part = jpeg.decode(request);
  CHECK(whole.ok() && part.ok());
  if (!whole.ok() || !part.ok()) return;
  const PixelView all = whole.value().view(), some = part.value().view();
  CHECK(all.region.width == width && all.region.height == height);
  for (int y = needed.top; y < needed.top + needed.height; ++y) {
    const auto channels = size_t(all.channels);
    const uint8_t* expected = all.row(y) + size_t(needed.left) * channels;
    const uint8_t* got = some.row(y) + size_t(needed.left - some.region.left) * channels;
    if (std::memcmp(got, expected, size_t(needed.width) * channels) == 0) continue;
    test::fault(__FILE__, __LINE__,
                "row " + std::to_string(y) + " of subsampling " +
                    std::to_string(options.subsampling) +
                    (options.progressive ? " progressive" : "") + (halved ? " halved" : "") +
                    " region " + std::to_string(needed.left) + "," + std::to_string(needed.top));
    return;
  }
}

TEST("jpeg: a region has the pixels of the whole image") {
  const TurboJpeg* jpeg = library("jpeg: regions");
  if (jpeg == nullptr) return;
  for (int subsampling = 0; subsampling < 7; ++subsampling) {
    for (const bool progressive : {false, true}) {
      const JpegOptions options{211, 173, subsampling, progressive};
      const auto file = encodeJpeg(options);
      CHECK(!file.empty());
      for (const Region& needed :
           {Region{0, 0, 40, 30}, Region{97, 51, 33, 77}, Region{64, 64, 64, 64},
            Region{200, 160, 11, 13}, Region{1, 172, 209, 1}}) {
        checkRegion(*jpeg, file, options, needed, false);
      }
      for (const Region& needed :
           {Region{0, 0, 20, 15}, Region{49, 26, 16, 38}, Region{100, 80, 6, 7}}) {
        checkRegion(*jpeg, file, options, needed, true);
      }
    }
  }
}

TEST("jpeg: what it does not decode is refused by code") {
  const TurboJpeg* jpeg = library("jpeg: refusals");
  if (jpeg == nullptr) return;
  const Region all{0, 0, 40, 30};
  const auto file = encodeJpeg({40, 30, 2});
  CHECK(jpeg->decode(requestOf(file, 40, 30, all)).ok());
  CHECK(jpeg->decode(requestOf(file, 41, 30, all)).status().code == Code::kImage);
  const auto cmyk = encodeJpeg({40, 30, 0, false, true});
  CHECK(jpeg->decode(requestOf(cmyk, 40, 30, all)).status().code == Code::kUnsupported);
  const std::vector<uint8_t> cut(file.begin(), file.end() - 40);
  const auto refused = jpeg->decode(requestOf(cut, 40, 30, all));
  CHECK(refused.status().code == Code::kImage);
  CHECK_HAS(refused.status().message, "Premature end of JPEG file");
  const std::vector<uint8_t> text = {'n', 'o', ' ', 'J', 'P', 'E', 'G'};
  CHECK(jpeg->decode(requestOf(text, 40, 30, all)).status().code == Code::kImage);
}

TEST("jpeg: a library that is none says why") {
  const auto absent = TurboJpeg::open("/absent/libturbojpeg.so.0");
  CHECK(absent.status().code == Code::kUnavailable);
  CHECK_HAS(absent.status().message, "/absent/libturbojpeg.so.0");
#if defined(__linux__)
  const auto other = TurboJpeg::open("libdl.so.2");
  CHECK(other.status().code == Code::kUnavailable);
  CHECK_HAS(other.status().message, "tj3Init");
#endif
}

}  // namespace

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
