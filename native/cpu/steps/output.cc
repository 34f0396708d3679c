// value, blocked -> y [N,C,H,W] or [N,H,W,C] in the caller's memory, float32 or int32
// bound: memory, reads and writes each element once
#include <algorithm>
#include <cstdint>

#include "cpu/steps/candidates.h"
#include "cpu/steps/rows.h"

namespace resnet::cpu {
namespace {

class OutputKernel final : public Kernel {
 public:
  OutputKernel(const OutputStep& step, const Layout& layout) : step_(step), layout_(layout) {}

  void run(const Work& work) const noexcept override {
    const View& view = work.view(step_.input);
    const int h = layout_.h, w = layout_.w, c = layout_.c;
    const size_t imageBytes = size_t(h) * w * c * sizeof(float);
    const bool planes = step_.layout == MemoryLayout::kNchw;
    const int pixelStep = planes ? 1 : c;
    const int blocks = layout_.thin ? 1 : layout_.blocks();
    forRows(work, blocks, h, [&](int image, int block, int begin, int end) {
      const float* from = view.image(image);
      // int32 values are moved as the same four bytes.
      auto* to = reinterpret_cast<float*>(
          imageOf(work.submission->outputs[step_.index], work.firstImage + image, imageBytes));
      const int first = layout_.thin ? 0 : block * kBlock;
      const int channels = layout_.thin ? c : std::min(kBlock, c - first);
      const int pitch = layout_.channelPitch();
      for (int y = begin; y < end; ++y) {
        const float* row = from + layout_.at(block, y, 0);
        for (int i = 0; i < channels; ++i) {
          float* out =
              planes ? to + (size_t(first + i) * h + y) * w : to + size_t(y) * w * c + first + i;
          for (int x = 0; x < w; ++x) out[size_t(x) * pixelStep] = row[size_t(x) * pitch + i];
        }
      }
    });
  }

 private:
  OutputStep step_;
  Layout layout_;
};

class OutputCandidate final : public Candidate {
 public:
  const char* name() const override { return "output"; }
  std::string refuse(const StepQuery&) const override { return {}; }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    const auto& step = std::get<OutputStep>(context.query.step.body);
    return std::unique_ptr<Kernel>(
        std::make_unique<OutputKernel>(step, context.layout(step.input)));
  }
};

}  // namespace

const Candidate& outputCandidate() {
  static const OutputCandidate candidate;
  return candidate;
}

}  // namespace resnet::cpu
