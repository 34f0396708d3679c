#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "cpu/isa.h"
#include "glue/arguments.h"
#include "glue/boxes.h"
#include "glue/functions.h"
#include "image/colours.h"
#include "image/resize.h"
#include "image/threads.h"
#include "image/turbo_jpeg.h"

namespace resnet::glue {
namespace {

using image::Preset;

// Rows of CMYK stay below 2^31 bytes.
constexpr int64_t kMaxSide = int64_t{1} << 28;
constexpr int kMostLines = 1 << 30;

image::Window readWindow(Arguments& call, const char* name, int resized, int output) {
  const Napi::Value given = call.value(name);
  if (given.IsEmpty()) return {};
  Arguments window(given, name);
  image::Window read;
  read.from = int(window.integer("from", 0, resized - 1));
  read.length = int(window.integer("length", 1, std::min(resized - read.from, output)));
  read.to = int(window.integer("to", 0, output - read.length));
  if (!window.status().ok() && call.status().ok()) call.refuse(window.status().message);
  return read;
}

std::vector<float> readNumbers(Arguments& call, const char* name) {
  std::vector<float> numbers;
  for (const Napi::Value& value : call.list(name)) {
    if (!value.IsNumber()) {
      call.refuse(name, "numbers", value);
      break;
    }
    numbers.push_back(value.As<Napi::Number>().FloatValue());
  }
  if (numbers.size() != 1 && numbers.size() != 3 && call.status().ok()) {
    call.refuse(std::string("'") + name + "' must have 1 or 3 numbers, got " +
                std::to_string(numbers.size()));
  }
  return numbers;
}

// What both functions are given.
struct ImageCall {
  int width = 0, height = 0;
  Preset preset;
  Napi::TypedArray output;
  LineOfJobs line;
  std::shared_ptr<Control> control;
};

// Which line for images, and how many of it at once; without: the first, as many as the environment says.
LineOfJobs readLine(Arguments& call) {
  if (!call.has("threads")) {
    const Result<int> threads = image::threadCount();
    call.adopt(threads.status());
    return {1, threads.ok() ? threads.value() : 1};
  }
  const int limit = int(call.integer("threads", 1, image::kMostThreads));
  return {call.has("line") ? int(call.integer("line", 1, kMostLines)) : 1, limit};
}

// What a call is for: the network's input in memory of the caller's, or the decoded picture.
enum class Wanted { kInput, kPicture };

ImageCall readImageCall(Arguments& call, Wanted wanted) {
  ImageCall read;
  Preset& preset = read.preset;
  read.width = int(call.integer("width", 1, kMaxSide));
  read.height = int(call.integer("height", 1, kMaxSide));
  preset.resizedWidth = int(call.integer("resizedWidth", 1, kMaxSide));
  preset.resizedHeight = int(call.integer("resizedHeight", 1, kMaxSide));
  preset.width = int(call.integer("outputWidth", 1, kMaxSide));
  preset.height = int(call.integer("outputHeight", 1, kMaxSide));
  const std::string interpolation = call.text("interpolation");
  if (call.status().ok() && interpolation != "bilinear" && interpolation != "bicubic") {
    call.refuse("'interpolation' must be 'bilinear' or 'bicubic', got '" + interpolation + "'");
  }
  preset.filter = interpolation == "bicubic" ? image::Filter::kBicubic : image::Filter::kBilinear;
  if (call.status().ok()) preset.x = readWindow(call, "x", preset.resizedWidth, preset.width);
  if (call.status().ok()) preset.y = readWindow(call, "y", preset.resizedHeight, preset.height);
  preset.mean = readNumbers(call, "mean");
  preset.std = readNumbers(call, "std");
  if (preset.mean.size() != preset.std.size() && call.status().ok()) {
    call.refuse("'mean' and 'std' must be of one length, got " +
                std::to_string(preset.mean.size()) + " and " + std::to_string(preset.std.size()));
  }
  read.line = readLine(call);
  read.control = call.control();
  if (wanted == Wanted::kPicture) return read;
  const Napi::Value output = call.value("output");
  if (!output.IsEmpty()) {
    const bool levels =
        output.IsTypedArray() && output.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
    read.output = call.view(output, "output", levels ? napi_uint8_array : napi_float32_array);
  }
  return read;
}

// Where the result goes: normalised planes or levels, whichever is not null; neither for a picture.
struct Output {
  float* planes = nullptr;
  uint8_t* levels = nullptr;
};

// Its size is checked. No JavaScript runs after this.
Result<Output> outputOf(const ImageCall& call) {
  if (call.output.IsEmpty()) return Output{};
  const Span span = spanOf(call.output);
  const size_t expected =
      size_t(call.preset.width) * size_t(call.preset.height) * call.preset.mean.size();
  if (span.elements == expected) {
    return call.output.TypedArrayType() == napi_uint8_array
               ? Output{nullptr, static_cast<uint8_t*>(span.data)}
               : Output{static_cast<float*>(span.data), nullptr};
  }
  return Status::error(Code::kInvalidArgument, "'output' must have " + std::to_string(expected) +
                                                   " elements, got " +
                                                   std::to_string(span.elements));
}

// What both kinds of preparation run with.
struct Means {
  cpu::Isa isa;
  Output output;
};
Result<Means> meansOf(const ImageCall& call) {
  const Result<cpu::Isa> isa = cpu::chooseIsa("");
  if (!isa.ok()) return isa.status();
  const Result<Output> output = outputOf(call);
  if (!output.ok()) return output.status();
  return Means{isa.value(), output.value()};
}

Napi::Object holding(Napi::Env env, const Napi::TypedArray& from, const Napi::TypedArray& to) {
  Napi::Array both = Napi::Array::New(env);
  both.Set(0u, from);
  if (!to.IsEmpty()) both.Set(1u, to);
  return both;
}

// What a call gives: nothing where its output was filled, else the picture.
using Outcome = std::shared_ptr<PictureBox>;
Napi::Value outcomeToJs(Napi::Env env, Outcome picture) {
  return picture == nullptr ? Napi::Value(env.Undefined()) : makeHandle(env, std::move(picture));
}

PictureAxis axisOf(int image, int shrink, int resized, const image::Window& window, int first,
                   int held) {
  return {double(image) / shrink,
          (image + shrink - 1) / shrink,
          first,
          held,
          resized,
          window.from,
          window.length,
          window.to};
}

// A decoded image as its device resizes it, with the pixels that are needed.
struct Decoded {
  int width, height, shrink;  // of the image; how many of its pixels one stands for
  const Preset& preset;
};
Picture pictureOf(const Decoded& whole, const image::Region& needed, int channels, size_t pitch) {
  const Preset& preset = whole.preset;
  return {
      axisOf(whole.width, whole.shrink, preset.resizedWidth, preset.x, needed.left, needed.width),
      axisOf(whole.height, whole.shrink, preset.resizedHeight, preset.y, needed.top, needed.height),
      channels, pitch};
}

// `own`: the buffer of `view`'s pixels, if it may be kept.
Outcome keepPicture(const Decoded& whole, const image::Region& needed, const image::PixelView& view,
                    std::optional<image::PixelBuffer> own) {
  if (!own) {
    own.emplace(needed, view.channels);
    const size_t bytes = size_t(needed.width) * size_t(view.channels);
    for (int y = 0; y < needed.height; ++y) {
      std::memcpy(
          own->data() + size_t(y) * own->pitch(),
          view.row(needed.top + y) + size_t(needed.left - view.region.left) * size_t(view.channels),
          bytes);
    }
  }
  const image::PixelView kept = own->view();
  const uint8_t* first =
      kept.row(needed.top) + size_t(needed.left - kept.region.left) * size_t(kept.channels);
  return std::make_shared<PictureBox>(std::move(*own), first,
                                      pictureOf(whole, needed, kept.channels, kept.pitch));
}

// Colours, size and window of what was decoded; into the output, or kept as they are. `own` as above.
Result<Outcome> finish(const image::Resize& resize, const Decoded& whole,
                       const image::PixelView& decoded, std::optional<image::PixelBuffer> own,
                       const Means& means, const Control& control) {
  if (control.stop()) return Status::aborted();
  const auto& [isa, output] = means;
  const image::Region needed = resize.needed();
  auto converted = image::convertColours(decoded, needed, int(whole.preset.mean.size()), isa);
  const image::PixelView source = converted ? converted->view() : decoded;
  if (output.levels == nullptr && output.planes == nullptr)
    return keepPicture(whole, needed, source, converted ? std::move(converted) : std::move(own));
  RESNET_RETURN_IF_ERROR(output.levels != nullptr ? resize.runLevels(source, output.levels, control)
                                                  : resize.run(source, output.planes, control));
  return Outcome{};
}

}  // namespace

Result<Napi::Value> openJpegLibrary(const Napi::CallbackInfo& info) {
  Arguments call(info, "openJpegLibrary");
  const std::string path = call.text("path");
  RESNET_RETURN_IF_ERROR(call.status());
  const auto library = image::TurboJpeg::open(path);
  if (!library.ok()) return library.status();
  return info.Env().Undefined();
}

namespace {

Result<Napi::Value> jpeg(const Napi::CallbackInfo& info, const char* function, Wanted wanted) {
  Arguments call(info, function);
  const std::string path = call.text("library");
  const Napi::Value given = call.value("bytes"), halved = call.value("halved");
  const Napi::TypedArray bytes =
      given.IsEmpty() ? Napi::TypedArray() : call.view(given, "bytes", napi_uint8_array);
  if (call.status().ok() && !halved.IsBoolean()) call.refuse("halved", "a boolean", halved);
  ImageCall common = readImageCall(call, wanted);
  RESNET_RETURN_IF_ERROR(call.status());
  const auto library = image::TurboJpeg::open(path);
  if (!library.ok()) return library.status();
  const Result<Means> found = meansOf(common);
  if (!found.ok()) return found.status();
  const Means means = found.value();
  const Span file = spanOf(bytes);

  const image::JpegRequest request{static_cast<const uint8_t*>(file.data),
                                   file.elements,
                                   common.width,
                                   common.height,
                                   halved.ToBoolean(),
                                   {}};
  return promiseOf<Outcome>(
      info.Env(),
      [request, library = library.value(), means, preset = std::move(common.preset),
       control = common.control]() -> Result<Outcome> {
        if (control->stop()) return Status::aborted();
        const int shrink = request.halved ? 2 : 1;
        const image::Resize resize(preset, request.width, request.height, shrink, means.isa);
        image::JpegRequest region = request;
        region.needed = resize.needed();
        Result<image::PixelBuffer> decoded = library->decode(region);
        if (!decoded.ok()) return decoded.takeStatus();
        const image::PixelView view = decoded.value().view();
        return finish(resize, {request.width, request.height, shrink, preset}, view, decoded.take(),
                      means, *control);
      },
      outcomeToJs, {common.line, holding(info.Env(), bytes, common.output)});
}

Result<Napi::Value> pixels(const Napi::CallbackInfo& info, const char* function, Wanted wanted) {
  Arguments call(info, function);
  const Napi::Value given = call.value("pixels");
  const Napi::TypedArray bytes =
      given.IsEmpty() ? Napi::TypedArray() : call.view(given, "pixels", napi_uint8_array);
  const int channels = int(call.integer("channels", 1, 4));
  if (call.status().ok() && channels == 2) call.refuse("'channels' must be 1, 3 or 4, got 2");
  ImageCall common = readImageCall(call, wanted);
  RESNET_RETURN_IF_ERROR(call.status());
  const Result<Means> found = meansOf(common);
  if (!found.ok()) return found.status();
  const Means means = found.value();
  const Span source = spanOf(bytes);
  const size_t pitch = size_t(common.width) * size_t(channels);
  const size_t expected = pitch * size_t(common.height);
  if (source.elements != expected) {
    // (text + std::string would bring a false warning of GCC 12.)
    std::string message = "'";
    message += function;
    message += ".pixels' must have " + std::to_string(expected) + " bytes, got " +
               std::to_string(source.elements);
    return Status::error(Code::kInvalidArgument, std::move(message));
  }

  const image::PixelView view{static_cast<const uint8_t*>(source.data),
                              pitch,
                              channels,
                              {0, 0, common.width, common.height},
                              source.elements};
  return promiseOf<Outcome>(info.Env(),
                            [view, means, preset = std::move(common.preset),
                             control = common.control]() -> Result<Outcome> {
                              const int width = view.region.width, height = view.region.height;
                              const image::Resize resize(preset, width, height, 1, means.isa);
                              return finish(resize, {width, height, 1, preset}, view, {}, means,
                                            *control);
                            },
                            outcomeToJs, {common.line, holding(info.Env(), bytes, common.output)});
}

}  // namespace

const napi_type_tag PictureBox::kTag = {0x2d8f6b03c1e74a95, 0xb4a7e05d9163f82c};

std::vector<napi_property_descriptor> PictureBox::methods() {
  return {method("dispose", throwing<dispose<PictureBox>>)};
}

Result<Napi::Value> prepareJpeg(const Napi::CallbackInfo& info) {
  return jpeg(info, "prepareJpeg", Wanted::kInput);
}
Result<Napi::Value> preparePixels(const Napi::CallbackInfo& info) {
  return pixels(info, "preparePixels", Wanted::kInput);
}
Result<Napi::Value> decodeJpeg(const Napi::CallbackInfo& info) {
  return jpeg(info, "decodeJpeg", Wanted::kPicture);
}
Result<Napi::Value> decodePixels(const Napi::CallbackInfo& info) {
  return pixels(info, "decodePixels", Wanted::kPicture);
}

}  // namespace resnet::glue
