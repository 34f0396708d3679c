#include "image/turbo_jpeg.h"

#include <algorithm>
#include <climits>
#include <map>
#include <memory>
#include <mutex>

#ifndef _WIN32
#include <dlfcn.h>
#endif

namespace resnet::image {
namespace {

// The names and numbers of turbojpeg.h (API 3), which are part of its ABI.
constexpr int kInitDecompress = 1;
enum Parameter {
  kStopOnWarning = 0,
  kSubsampling = 4,
  kWidth = 5,
  kHeight = 6,
  kPrecisionBits = 7,
  kColourSpace = 8,
  kProgressive = 12,
  kScanLimit = 13,
  kLossless = 15,
};
enum ColourSpace { kRgb = 0, kYcc = 1, kGrey = 2 };
enum PixelFormat { kFormatRgb = 0, kFormatGrey = 6 };

// A progressive file may repeat scans without end; libvips stops here too.
constexpr int kMaxScans = 100;

struct Extent {
  int width, height;
};
// By subsampling: 4:4:4, 4:2:2, 4:2:0, grey, 4:4:0, 4:1:1, 4:4:1.
constexpr Extent kBlocks[] = {{8, 8}, {16, 8}, {16, 16}, {8, 8}, {8, 16}, {32, 8}, {8, 32}};

// `needed` in whole blocks across, and one block more on each side: the upsampling of chroma looks beyond an edge, and
// at the edge of a region it sees nothing there.
Region widened(const Region& needed, const Extent& image, const Extent& block) {
  const int left = std::max(needed.left / block.width - 1, 0) * block.width;
  const int top = std::max(needed.top - block.height, 0);
  const int right = std::min(needed.left + needed.width + block.width, image.width);
  const int bottom = std::min(needed.top + needed.height + block.height, image.height);
  return {left, top, right - left, bottom - top};
}

template <typename Function>
bool find([[maybe_unused]] void* library, [[maybe_unused]] const char* name,
          [[maybe_unused]] Function*& function) {
#ifdef _WIN32
  return false;
#else
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
#endif
}

Status unusable(const std::string& path, const std::string& why) {
  return Status::error(Code::kUnavailable,
                       "cannot decode JPEGs with '" + path + "': " + why +
                           "; expected the libturbojpeg of libjpeg-turbo 3 or newer");
}

}  // namespace

Result<const TurboJpeg*> TurboJpeg::open(const std::string& path) {
  static std::mutex mutex;
  // Never destroyed: a thread may decode while the process ends.
  static auto* opened = new std::map<std::string, std::unique_ptr<TurboJpeg>>();
  std::lock_guard lock(mutex);
  const auto found = opened->find(path);
  if (found != opened->end()) return found->second.get();
#ifdef _WIN32
  return unusable(path, "opening it is not supported on Windows");
#else
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return unusable(path, dlerror());
  auto made = std::make_unique<TurboJpeg>();
  Functions& f = made->functions_;
  if (!find(library, "tj3Init", f.init) || !find(library, "tj3Destroy", f.destroy) ||
      !find(library, "tj3Set", f.set) || !find(library, "tj3Get", f.get) ||
      !find(library, "tj3GetErrorStr", f.errorText) ||
      !find(library, "tj3DecompressHeader", f.readHeader) ||
      !find(library, "tj3SetCroppingRegion", f.setRegion) ||
      !find(library, "tj3SetScalingFactor", f.setScale) ||
      !find(library, "tj3Decompress8", f.decompress)) {
    const std::string why = dlerror();
    dlclose(library);
    return unusable(path, why);
  }
  return opened->emplace(path, std::move(made)).first->second.get();
#endif
}

// One file's decompressor.
class TurboJpeg::Decoder {
 public:
  Decoder(const Functions& functions, const JpegRequest& request)
      : f_(functions), request_(request), handle_(functions.init(kInitDecompress)) {}
  ~Decoder() {
    if (handle_ != nullptr) f_.destroy(handle_);
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  Result<PixelBuffer> decode() {
    if (handle_ == nullptr) return Status::error(Code::kOutOfMemory, "no memory for a decoder");
    RESNET_RETURN_IF_ERROR(checked(f_.set(handle_, kStopOnWarning, 1)));
    RESNET_RETURN_IF_ERROR(checked(f_.set(handle_, kScanLimit, kMaxScans)));
    RESNET_RETURN_IF_ERROR(checked(f_.readHeader(handle_, request_.bytes, request_.size)));
    RESNET_RETURN_IF_ERROR(checkHeader());
    Region region{0, 0, request_.width, request_.height};
    RESNET_RETURN_IF_ERROR(selectRegion(&region));
    const bool grey = f_.get(handle_, kColourSpace) == kGrey;
    PixelBuffer buffer(region, grey ? 1 : 3);
    if (buffer.pitch() > INT_MAX) return Status::error(Code::kUnsupported, "rows beyond 2 GiB");
    RESNET_RETURN_IF_ERROR(
        checked(f_.decompress(handle_, request_.bytes, request_.size, buffer.data(),
                              int(buffer.pitch()), grey ? kFormatGrey : kFormatRgb)));
    return buffer;
  }

 private:
  Status checked(int result) const {
    if (result == 0) return Status::okay();
    const char* text = f_.errorText(handle_);
    return Status::error(Code::kImage, text == nullptr ? "unknown error" : text);
  }

  Status checkHeader() const {
    const int width = f_.get(handle_, kWidth), height = f_.get(handle_, kHeight);
    if (width != request_.width || height != request_.height) {
      return Status::error(Code::kImage, "the decoder reads " + std::to_string(width) + " x " +
                                             std::to_string(height) + " pixels, the header says " +
                                             std::to_string(request_.width) + " x " +
                                             std::to_string(request_.height));
    }
    const int colours = f_.get(handle_, kColourSpace), bits = f_.get(handle_, kPrecisionBits);
    if (bits != 8 || f_.get(handle_, kLossless) != 0 ||
        (colours != kRgb && colours != kYcc && colours != kGrey)) {
      return Status::error(Code::kUnsupported, "expected 8 bits of grey, RGB or YCbCr, received " +
                                                   std::to_string(bits) + " bits in colour space " +
                                                   std::to_string(colours) + " of libturbojpeg");
    }
    return Status::okay();
  }

  // Sets scale and region, `region` to what will be decoded.
  Status selectRegion(Region* region) {
    Extent image{request_.width, request_.height};
    const int shrink = request_.halved ? 2 : 1;
    if (request_.halved) {
      image = {(image.width + 1) / 2, (image.height + 1) / 2};
      RESNET_RETURN_IF_ERROR(checked(f_.setScale(handle_, {1, 2})));
    }
    *region = {0, 0, image.width, image.height};
    const int subsampling = f_.get(handle_, kSubsampling);
    const bool known = subsampling >= 0 && subsampling < int(std::size(kBlocks));
    // Where scans of a progressive file are missing, blocks are smoothed by their neighbours: those of a region are not
    // the same.
    if (!known || f_.get(handle_, kProgressive) != 0) return Status::okay();
    const Extent block{kBlocks[subsampling].width / shrink, kBlocks[subsampling].height / shrink};
    const Region wanted = widened(request_.needed, image, block);
    if (wanted.width == image.width && wanted.height == image.height) return Status::okay();
    *region = wanted;
    return checked(
        f_.setRegion(handle_, {region->left, region->top, region->width, region->height}));
  }

  const Functions& f_;
  const JpegRequest& request_;
  void* handle_;
};

Result<PixelBuffer> TurboJpeg::decode(const JpegRequest& request) const {
  return Decoder(functions_, request).decode();
}

}  // namespace resnet::image
