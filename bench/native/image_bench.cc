// Processor time of one core from JPEG bytes to the input of a network (256 / 224 bilinear, 235 / 224 bicubic), by
// stage: least of several rounds.
//
//   image_bench [--rounds N] [--isa NAME] file.jpg...
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "image/resize.h"
#include "image/turbo_jpeg.h"
#include "turbo_jpeg_library.h"

using namespace resnet;
using namespace resnet::image;

namespace {

double cpuMilliseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) * 1e3 + double(now.tv_nsec) / 1e6;
}

template <typename Body>
double leastOf(int rounds, Body body) {
  double least = 1e30;
  for (int round = 0; round < rounds; ++round) {
    const double started = cpuMilliseconds();
    body();
    least = std::min(least, cpuMilliseconds() - started);
  }
  return least;
}

// torchvision's Resize(shorter side) and CenterCrop(224).
Preset presetOf(int width, int height, int shorter, Filter filter) {
  Preset preset;
  preset.filter = filter;
  preset.resizedWidth = width <= height ? shorter : width * shorter / height;
  preset.resizedHeight = width <= height ? height * shorter / width : shorter;
  preset.width = preset.height = 224;
  preset.x = {(preset.resizedWidth - 224) / 2, 224, 0};
  preset.y = {(preset.resizedHeight - 224) / 2, 224, 0};
  preset.mean = {0.485f, 0.456f, 0.406f};
  preset.std = {0.229f, 0.224f, 0.225f};
  return preset;
}

struct File {
  std::string name;
  std::vector<uint8_t> bytes;
  int width = 0, height = 0;
};

// Segment by segment to the frame header: an EXIF thumbnail has one of its own.
void readSize(File* file) {
  const std::vector<uint8_t>& bytes = file->bytes;
  for (size_t at = 2; at + 9 < bytes.size() && bytes[at] == 0xff;) {
    if (bytes[at + 1] >= 0xc0 && bytes[at + 1] <= 0xc2) {
      file->height = bytes[at + 5] << 8 | bytes[at + 6];
      file->width = bytes[at + 7] << 8 | bytes[at + 8];
      return;
    }
    at += size_t{2} + size_t(bytes[at + 2] << 8 | bytes[at + 3]);
  }
}

File readFile(const std::string& name) {
  std::ifstream stream(name, std::ios::binary);
  File file{name, std::vector<uint8_t>(std::istreambuf_iterator<char>(stream), {})};
  readSize(&file);
  return file;
}

void measure(const TurboJpeg& jpeg, const File& file, const Preset& preset, cpu::Isa isa,
             int rounds) {
  for (const bool halved : {false, true}) {
    if (halved &&
        (preset.resizedWidth * 2 > file.width || preset.resizedHeight * 2 > file.height)) {
      continue;
    }
    const int shrink = halved ? 2 : 1;
    std::vector<float> output(size_t{3} * 224 * 224);
    const auto decode = [&](const Region& needed) {
      auto decoded = jpeg.decode(
          {file.bytes.data(), file.bytes.size(), file.width, file.height, halved, needed});
      if (!decoded.ok()) {
        std::printf("%s: %s\n", file.name.c_str(), decoded.status().message.c_str());
        std::exit(1);
      }
      return decoded.take();
    };
    const Resize resize(preset, file.width, file.height, shrink, isa);
    const PixelBuffer pixels = decode(resize.needed());
    const Region whole{0, 0, (file.width + shrink - 1) / shrink,
                       (file.height + shrink - 1) / shrink};
    const double wholeMs = leastOf(rounds, [&] { decode(whole); });
    const double windowMs = leastOf(rounds, [&] { decode(resize.needed()); });
    const double resizeMs = leastOf(rounds, [&] {
      const Resize each(preset, file.width, file.height, shrink, isa);
      (void)each.run(pixels.view(), output.data(), Control{});
    });
    const double allMs = leastOf(rounds, [&] {
      const Resize each(preset, file.width, file.height, shrink, isa);
      const PixelBuffer decoded = decode(each.needed());
      (void)each.run(decoded.view(), output.data(), Control{});
    });
    std::printf(
        "%-24s %5d x %-5d %-8s %-6s decode %.3f, its window %.3f, resize %.3f, all %.3f ms\n",
        file.name.substr(file.name.rfind('/') + 1).c_str(), file.width, file.height,
        preset.filter == Filter::kBilinear ? "bilinear" : "bicubic", halved ? "halved" : "",
        wholeMs, windowMs, resizeMs, allMs);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 30;
  std::string isaName;
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--rounds" && i + 1 < argc) {
      rounds = std::atoi(argv[++i]);
    } else if (argument == "--isa" && i + 1 < argc) {
      isaName = argv[++i];
    } else {
      names.push_back(argument);
    }
  }
  const Result<cpu::Isa> isa = cpu::chooseIsa(isaName);
  const auto jpeg = TurboJpeg::open(test::turboJpegPath());
  if (!isa.ok() || !jpeg.ok()) {
    std::printf("%s\n", (isa.ok() ? jpeg.status() : isa.status()).message.c_str());
    return 1;
  }
  for (const std::string& name : names) {
    const File file = readFile(name);
    if (file.width == 0 || file.height == 0) {
      std::printf("%s: no JPEG\n", name.c_str());
      return 1;
    }
    measure(*jpeg.value(), file, presetOf(file.width, file.height, 256, Filter::kBilinear),
            isa.value(), rounds);
    measure(*jpeg.value(), file, presetOf(file.width, file.height, 235, Filter::kBicubic),
            isa.value(), rounds);
  }
  return 0;
}
