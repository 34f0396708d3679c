// x [N,C,H,W] or [N,H,W,C], float32, float16, bfloat16 or uint8 -> value in float32, blocked or thin, halo
// zeroed, padded channels zeroed
// uint8 is normalised: y = (x / 255 - mean[c]) / std[c], as y = x * scale[c] + offset[c]
// bound: memory, reads and writes each element once
#include <algorithm>
#include <cstdint>

#include "cpu/halo.h"
#include "cpu/steps/candidates.h"
#include "cpu/steps/rows.h"

namespace resnet::cpu {
namespace {

// Bits in the caller's memory.
struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};
float asFloat(float x) { return x; }
float asFloat(uint8_t x) { return float(x); }
float asFloat(Float16 x) { return float16ToFloat32(x.bits); }
float asFloat(BFloat16 x) { return bfloat16ToFloat32(x.bits); }

class InputKernel final : public Kernel {
 public:
  InputKernel(const InputStep& step, const Layout& layout) : step_(step), layout_(layout) {
    for (int c = 0; c < layout.c; ++c) {
      const float mean = step.mean.empty() ? 0 : step.mean[c];
      const float deviation = step.std.empty() ? 1 : step.std[c];
      const bool pixels = step.dtype == DType::kUint8;
      scale_.push_back(pixels ? float(1.0 / (255.0 * deviation)) : 1);
      offset_.push_back(pixels ? float(-double(mean) / deviation) : 0);
    }
  }

  void run(const Work& work) const noexcept override {
    const View& view = work.view(step_.output);
    const size_t imageBytes = size_t(layout_.h) * layout_.w * layout_.c * dtypeBytes(step_.dtype);
    forRows(
        work, layout_.thin ? 1 : layout_.blocks(), layout_.h,
        [&](int image, int block, int begin, int end) {
          float* out = view.image(image);
          zeroHaloRows(layout_, out, block, begin, end);
          const char* source =
              imageOf(work.submission->inputs[step_.index], work.firstImage + image, imageBytes);
          switch (step_.dtype) {
            case DType::kUint8:
              return copyRows(reinterpret_cast<const uint8_t*>(source), out, block, begin, end);
            case DType::kFloat16:
              return copyRows(reinterpret_cast<const Float16*>(source), out, block, begin, end);
            case DType::kBFloat16:
              return copyRows(reinterpret_cast<const BFloat16*>(source), out, block, begin, end);
            case DType::kFloat32:
            case DType::kInt32:  // which no plan has
              return copyRows(reinterpret_cast<const float*>(source), out, block, begin, end);
          }
        });
  }

 private:
  template <typename T>
  void copyRows(const T* source, float* out, int block, int begin, int end) const {
    const int h = layout_.h, w = layout_.w, c = layout_.c;
    const int first = layout_.thin ? 0 : block * kBlock;
    const int channels = layout_.thin ? c : std::min(kBlock, c - first);
    const bool planes = step_.layout == MemoryLayout::kNchw;
    const size_t pixelStep = planes ? 1 : c;
    const int pitch = layout_.channelPitch();
    for (int y = begin; y < end; ++y) {
      float* row = out + layout_.at(block, y, 0);
      if (channels < pitch) std::fill(row, row + size_t(w) * pitch, 0.0f);
      for (int i = 0; i < channels; ++i) {
        const int channel = first + i;
        const T* from =
            planes ? source + (size_t(channel) * h + y) * w : source + size_t(y) * w * c + channel;
        const float scale = scale_[channel], offset = offset_[channel];
        for (int x = 0; x < w; ++x)
          row[size_t(x) * pitch + i] = asFloat(from[x * pixelStep]) * scale + offset;
      }
    }
  }

  InputStep step_;
  Layout layout_;
  std::vector<float> scale_, offset_;
};

class InputCandidate final : public Candidate {
 public:
  const char* name() const override { return "input"; }
  std::string refuse(const StepQuery& query) const override {
    const bool pictures = std::get<InputStep>(query.step.body).resize.has_value();
    return pictures ? "on the CPU pictures are resized before they become a network's input" : "";
  }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    const auto& step = std::get<InputStep>(context.query.step.body);
    return std::unique_ptr<Kernel>(
        std::make_unique<InputKernel>(step, context.layout(step.output)));
  }
};

}  // namespace

const Candidate& inputCandidate() {
  static const InputCandidate candidate;
  return candidate;
}

}  // namespace resnet::cpu
