// Mutants of small JPEGs through the whole path: each is refused with a code and words, or every pixel that the preset
// needs is decoded and every element of the output written.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "fuzz/mutate.h"
#include "image/colours.h"
#include "image/resize.h"
#include "image/turbo_jpeg.h"
#include "turbo_jpeg_library.h"

namespace {

using namespace resnet;
using namespace resnet::image;
using fuzz::demand;
using fuzz::Random;

// The caller's limit on pixels, low to be quick.
constexpr int64_t kMaxPixels = 1 << 18;

std::vector<std::vector<uint8_t>> seeds() {
  std::vector<std::vector<uint8_t>> files;
  for (int subsampling = 0; subsampling < 7; ++subsampling) {
    for (const bool progressive : {false, true}) {
      files.push_back(test::encodeJpeg({61, 47, subsampling, progressive, false, 60}));
    }
  }
  files.push_back(test::encodeJpeg({16, 16, 0, false, true, 60}));
  return files;
}

// Where the first thing lies that looks like a frame header (height and width follow at 5 and 7); 0 without one.
size_t startOfFrame(const std::vector<uint8_t>& file) {
  for (size_t at = 0; at + 9 < file.size(); ++at) {
    if (file[at] == 0xff && file[at + 1] >= 0xc0 && file[at + 1] <= 0xc2) return at;
  }
  return 0;
}

void mutate(std::vector<uint8_t>* file, Random& random) {
  const uint8_t markers[] = {0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc9, 0xcc, 0xd0, 0xd7, 0xd8,
                             0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xe0, 0xe1, 0xee, 0xfe, 0x00};
  const size_t at = random.below(file->size());
  // Half of the changes hit the headers, which are shorter than the data.
  const size_t header = random.oneIn(2) ? at : random.below(std::min<size_t>(file->size(), 700));
  switch (random.below(9)) {
    case 0:
    case 1:
      (*file)[header] ^= uint8_t(1 << random.below(8));
      return;
    case 2:
    case 3:
      (*file)[header] = uint8_t(random.next());
      return;
    case 4:
      file->resize(std::max<size_t>(at, 1));
      return;
    case 5:
      (*file)[header] = 0xff;
      if (header + 1 < file->size()) (*file)[header + 1] = random.pick(markers);
      return;
    case 6: {  // a piece of the file twice
      const size_t length = std::min(random.below(300), file->size() - at);
      const std::vector<uint8_t> piece(file->begin() + long(at), file->begin() + long(at + length));
      if (file->size() < 50'000)
        file->insert(file->begin() + long(header), piece.begin(), piece.end());
      return;
    }
    case 7: {
      const size_t length = std::min(random.below(64), file->size() - at - 1);
      file->erase(file->begin() + long(at), file->begin() + long(at + length));
      return;
    }
    default: {  // the frame header: precision, size, components, sampling
      const size_t frame = startOfFrame(*file);
      if (frame + 19 < file->size())
        (*file)[frame + 4 + random.below(15)] = uint8_t(random.below(80));
    }
  }
}

Preset presetOf(int planes, int width, int height, Random& random) {
  Preset preset;
  preset.filter = random.oneIn(2) ? Filter::kBilinear : Filter::kBicubic;
  preset.resizedWidth = 1 + int(random.below(size_t(std::min(2 * width, 90))));
  preset.resizedHeight = 1 + int(random.below(size_t(std::min(2 * height, 90))));
  const auto window = [&](int resized) {
    const int length = 1 + int(random.below(size_t(resized)));
    return Window{int(random.below(size_t(resized - length + 1))), length, int(random.below(3))};
  };
  preset.x = window(preset.resizedWidth);
  preset.y = window(preset.resizedHeight);
  preset.width = preset.x.to + preset.x.length + int(random.below(3));
  preset.height = preset.y.to + preset.y.length + int(random.below(3));
  preset.mean.assign(size_t(planes), 0.5f);
  preset.std.assign(size_t(planes), 0.25f);
  return preset;
}

bool tryOne(const TurboJpeg& jpeg, const std::vector<std::vector<uint8_t>>& files, Random& random) {
  std::vector<uint8_t> file = files[random.below(files.size())];
  for (size_t changes = random.below(4); changes > 0 && !file.empty(); --changes)
    mutate(&file, random);
  const size_t frame = startOfFrame(file);
  if (frame == 0) return false;
  const int height = file[frame + 5] << 8 | file[frame + 6];
  const int width = file[frame + 7] << 8 | file[frame + 8];
  if (width == 0 || height == 0 || int64_t(width) * height > kMaxPixels) return false;

  const int planes = random.oneIn(4) ? 1 : 3;
  const Preset preset = presetOf(planes, width, height, random);
  const bool halved = random.oneIn(3);
  const cpu::Isa isa = cpu::chooseIsa("").value();
  const Resize resize(preset, width, height, halved ? 2 : 1, isa);
  // Exactly as long as the file: a sanitizer sees a read beyond.
  const JpegRequest request{file.data(), file.size(), width, height, halved, resize.needed()};
  auto decoded = jpeg.decode(request);
  if (!decoded.ok()) {
    const Status& status = decoded.status();
    demand(status.code == Code::kImage || status.code == Code::kUnsupported, "refused with code",
           codeName(status.code));
    demand(!status.message.empty(), "a refusal without words");
    return false;
  }
  const PixelView view = decoded.value().view();
  const auto converted = convertColours(view, resize.needed(), planes, isa);
  std::vector<float> output(preset.mean.size() * size_t(preset.width) * size_t(preset.height),
                            std::nanf(""));
  demand(resize.run(converted ? converted->view() : view, output.data(), Control{}).ok(), "resize");
  demand(std::none_of(output.begin(), output.end(), [](float v) { return std::isnan(v); }),
         "an element was not written");
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const auto jpeg = TurboJpeg::open(test::turboJpegPath());
  if (!jpeg.ok()) {
    std::printf("skipped: jpeg_fuzz (%s)\n0 passed, 0 failed\n", jpeg.status().message.c_str());
    return 0;
  }
  const auto files = seeds();
  return fuzz::runAll(argc, argv,
                      [&](Random& random) { return tryOne(*jpeg.value(), files, random); });
}
