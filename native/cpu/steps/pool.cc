// avgPool: y = sum over the window / divisor; with countIncludePad padding counts in it,
// ceilMode's overhang does not
// x [H,W,C] -> y [P,Q,C], blocked; bounds in the loop, no halo needed; bound: memory. Source: torch
// AvgPool2d
#include <algorithm>

#include "cpu/halo.h"
#include "cpu/steps/candidates.h"
#include "cpu/steps/rows.h"

namespace resnet::cpu {
namespace {

class AvgPoolKernel final : public Kernel {
 public:
  AvgPoolKernel(const PoolStep& step, const Layout& in, const Layout& out)
      : step_(step), in_(in), out_(out) {}

  void run(const Work& work) const noexcept override {
    const View& input = work.view(step_.input);
    const View& output = work.view(step_.output);
    forRows(work, out_.blocks(), out_.h, [&](int image, int block, int begin, int end) {
      float* y = output.image(image);
      zeroHaloRows(out_, y, block, begin, end);
      for (int p = begin; p < end; ++p) row(input.image(image), y, block, p);
    });
  }

 private:
  void row(const float* x, float* y, int block, int p) const {
    const int pitch = in_.channelPitch();
    const int top = p * step_.stride.h - step_.padding.h;
    for (int q = 0; q < out_.w; ++q) {
      const int left = q * step_.stride.w - step_.padding.w;
      float sum[kBlock] = {};
      for (int r = 0; r < step_.kernel.h; ++r) {
        const int iy = top + r * step_.dilation.h;
        if (iy < 0 || iy >= in_.h) continue;
        for (int s = 0; s < step_.kernel.w; ++s) {
          const int ix = left + s * step_.dilation.w;
          if (ix < 0 || ix >= in_.w) continue;
          const float* pixel = x + in_.at(block, iy, 0) + size_t(ix) * pitch;
          for (int i = 0; i < kBlock; ++i) sum[i] += pixel[i];
        }
      }
      const float inverse = 1.0f / float(divisor(top, in_.h, step_.padding.h, step_.kernel.h) *
                                         divisor(left, in_.w, step_.padding.w, step_.kernel.w));
      for (float& s : sum) s *= inverse;
      std::copy(sum, sum + kBlock, y + out_.at(block, p, q));
    }
  }

  // Elements that count along one axis: PyTorch cuts the window at the padded edge, then, without
  // countIncludePad, at the image's.
  int divisor(int begin, int size, int padding, int kernel) const {
    int end = std::min(begin + kernel, size + padding);
    if (step_.countIncludePad) return end - begin;
    return std::min(end, size) - std::max(begin, 0);
  }

  PoolStep step_;
  Layout in_, out_;
};

class AvgPoolCandidate final : public Candidate {
 public:
  const char* name() const override { return "average pool"; }
  std::string refuse(const StepQuery&) const override { return {}; }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    const auto& step = std::get<PoolStep>(context.query.step.body);
    return std::unique_ptr<Kernel>(std::make_unique<AvgPoolKernel>(step, context.layout(step.input),
                                                                   context.layout(step.output)));
  }
};

// y[c] = sum of x[:, :, c] / (H * W), summed in float32 by rows, then over rows
// x [H,W,C] blocked -> y [1,1,C]; bound: memory. Source: torch AdaptiveAvgPool2d(1)
class GlobalAvgPoolKernel final : public Kernel {
 public:
  GlobalAvgPoolKernel(const GlobalAvgPoolStep& step, const Layout& in, const Layout& out)
      : step_(step), in_(in), out_(out) {}

  void run(const Work& work) const noexcept override {
    const View& input = work.view(step_.input);
    const View& output = work.view(step_.output);
    const float inverse = float(1.0 / (double(in_.h) * in_.w));
    forRows(work, out_.blocks(), 1, [&](int image, int block, int begin, int end) {
      float total[kBlock] = {};
      for (int y = 0; y < in_.h; ++y) {
        const float* row = input.image(image) + in_.at(block, y, 0);
        float sum[kBlock] = {};
        for (int x = 0; x < in_.w; ++x) {
          for (int i = 0; i < kBlock; ++i) sum[i] += row[size_t(x) * kBlock + i];
        }
        for (int i = 0; i < kBlock; ++i) total[i] += sum[i];
      }
      float* y = output.image(image);
      zeroHaloRows(out_, y, block, begin, end);
      for (int i = 0; i < kBlock; ++i) y[out_.at(block, 0, 0) + i] = total[i] * inverse;
    });
  }

 private:
  GlobalAvgPoolStep step_;
  Layout in_, out_;
};

class GlobalAvgPoolCandidate final : public Candidate {
 public:
  const char* name() const override { return "global average pool"; }
  std::string refuse(const StepQuery&) const override { return {}; }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    const auto& step = std::get<GlobalAvgPoolStep>(context.query.step.body);
    return std::unique_ptr<Kernel>(std::make_unique<GlobalAvgPoolKernel>(
        step, context.layout(step.input), context.layout(step.output)));
  }
};

}  // namespace

const Candidate& avgPoolCandidate() {
  static const AvgPoolCandidate candidate;
  return candidate;
}
const Candidate& globalAvgPoolCandidate() {
  static const GlobalAvgPoolCandidate candidate;
  return candidate;
}

}  // namespace resnet::cpu
