// The libturbojpeg that the tests decode and encode with: RESNET_TURBOJPEG, else the optional npm package's.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "image/turbo_jpeg.h"

namespace resnet::test {

inline std::string turboJpegPath() {
  const char* named = std::getenv("RESNET_TURBOJPEG");
  if (named != nullptr) return named;
#if defined(__aarch64__)
  const std::string platform = "linux-arm64";
#else
  const std::string platform = "linux-x64";
#endif
  return std::string(RESNET_SOURCE_DIR) +
         "/node_modules/@julusian/jpeg-turbo/prebuilds/jpeg-turbo-" + platform +
         "/libturbojpeg.so.0";
}

struct JpegOptions {
  int width = 0, height = 0;
  int subsampling = 0;  // tj's number: 4:4:4, 4:2:2, 4:2:0, grey, 4:4:0, 4:1:1, 4:4:1
  bool progressive = false;
  bool cmyk = false;
  int quality = 90;
};

// Smooth shapes under noise, in as many channels: neither flat blocks nor nothing but noise.
inline std::vector<uint8_t> testPixels(int width, int height, int channels) {
  std::vector<uint8_t> pixels;
  uint32_t state = 12345;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        state = state * 1664525 + 1013904223;
        const int wave = (x * (3 + c) + y * (5 - c)) / 4 % 256;
        const int level = (wave < 128 ? wave : 255 - wave) * 2 + int(state >> 28) - 8;
        pixels.push_back(uint8_t(level < 0 ? 0 : level > 255 ? 255 : level));
      }
    }
  }
  return pixels;
}

// Empty when the library cannot be opened.
inline std::vector<uint8_t> encodeJpeg(const JpegOptions& options) {
  void* library = dlopen(turboJpegPath().c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return {};
  const auto init = reinterpret_cast<void* (*)(int)>(dlsym(library, "tj3Init"));
  const auto destroy = reinterpret_cast<void (*)(void*)>(dlsym(library, "tj3Destroy"));
  const auto release = reinterpret_cast<void (*)(void*)>(dlsym(library, "tj3Free"));
  const auto set = reinterpret_cast<int (*)(void*, int, int)>(dlsym(library, "tj3Set"));
  const auto compress =
      reinterpret_cast<int (*)(void*, const unsigned char*, int, int, int, int, unsigned char**,
                               size_t*)>(dlsym(library, "tj3Compress8"));
  const int channels = options.cmyk ? 4 : 3;
  const std::vector<uint8_t> pixels = testPixels(options.width, options.height, channels);
  void* handle = init(0);
  set(handle, 3, options.quality);
  set(handle, 4, options.subsampling);
  set(handle, 12, options.progressive ? 1 : 0);
  unsigned char* bytes = nullptr;
  size_t size = 0;
  std::vector<uint8_t> file;
  if (compress(handle, pixels.data(), options.width, 0, options.height, options.cmyk ? 11 : 0,
               &bytes, &size) == 0) {
    file.assign(bytes, bytes + size);
  }
  release(bytes);
  destroy(handle);
  return file;
}

}  // namespace resnet::test
