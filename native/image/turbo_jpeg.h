// JPEG decoding by libturbojpeg (libjpeg-turbo 3 or newer), opened by its path at run time.
//
// Whole images and regions come out as PIL decodes them, bit for bit: the accurate DCT, smooth chroma upsampling,
// colour profiles and EXIF ignored. Colour is always decoded as RGB, for grey networks too: a file's luma is not what
// PIL's convert('L') makes of its RGB. What the library merely warns about (missing data, a bad marker) is refused here, so
// that another decoder may judge it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/status.h"
#include "image/pixels.h"

namespace resnet::image {

struct JpegRequest {
  const uint8_t* bytes = nullptr;
  size_t size = 0;
  int width = 0, height = 0;  // what the caller read in the file, and sized everything after
  bool halved = false;        // decode at half the size, rounded up, in the DCT
  Region needed;              // of the image as decoded
};

class TurboJpeg {
 public:
  // Never closed again: threads may be inside. One per path. kUnavailable says what is wrong with the file.
  static Result<const TurboJpeg*> open(const std::string& path);

  // A region that has all of `needed`: grey or RGB. On any thread.
  // kUnsupported: CMYK, more than 8 bits, lossless. kImage: damaged, or not of that size; with the library's words.
  Result<PixelBuffer> decode(const JpegRequest& request) const;

 private:
  struct Region4 {  // tjregion
    int x, y, w, h;
  };
  struct Fraction {  // tjscalingfactor
    int num, denom;
  };
  struct Functions {
    void* (*init)(int kind) = nullptr;
    void (*destroy)(void* handle) = nullptr;
    int (*set)(void* handle, int parameter, int value) = nullptr;
    int (*get)(void* handle, int parameter) = nullptr;
    char* (*errorText)(void* handle) = nullptr;
    int (*readHeader)(void* handle, const unsigned char* bytes, size_t size) = nullptr;
    int (*setRegion)(void* handle, Region4 region) = nullptr;
    int (*setScale)(void* handle, Fraction scale) = nullptr;
    int (*decompress)(void* handle, const unsigned char* bytes, size_t size, unsigned char* to,
                      int pitch, int pixelFormat) = nullptr;
  };
  class Decoder;

  Functions functions_;
};

}  // namespace resnet::image
