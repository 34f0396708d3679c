// affine: y = act(x * scale[c] + shift[c]), a folded batch norm    (torch BatchNorm2d, inference)
// add:    y = act(a + b)
// activation: y = max(x, 0); a NaN stays NaN, as in PyTorch
// x, y [H,W,C] blocked, y may be x; bound: memory
#include <algorithm>

#include "core/fold.h"
#include "cpu/halo.h"
#include "cpu/steps/candidates.h"
#include "cpu/steps/rows.h"

namespace resnet::cpu {
namespace {

float relu(float x) { return x < 0 ? 0 : x; }

// y = act(op(pixel of a, pixel of b, lane of the block)) over all pixels; `op` gets the block's
// index.
template <typename Op>
void forPixels(const Work& work, ValueId a, ValueId b, ValueId output, Activation activation,
               Op op) {
  const View &va = work.view(a), &vb = work.view(b), &vy = work.view(output);
  const Layout &la = *va.layout, &lb = *vb.layout, &ly = *vy.layout;
  forRows(work, ly.blocks(), ly.h, [&](int image, int block, int begin, int end) {
    float* base = vy.image(image);
    zeroHaloRows(ly, base, block, begin, end);
    for (int row = begin; row < end; ++row) {
      const float* pa = va.image(image) + la.at(block, row, 0);
      const float* pb = vb.image(image) + lb.at(block, row, 0);
      float* py = base + ly.at(block, row, 0);
      for (int x = 0; x < ly.w; ++x, pa += kBlock, pb += kBlock, py += kBlock) {
        if (activation == Activation::kRelu) {
          for (int i = 0; i < kBlock; ++i) py[i] = relu(op(pa[i], pb[i], block * kBlock + i));
        } else {
          for (int i = 0; i < kBlock; ++i) py[i] = op(pa[i], pb[i], block * kBlock + i);
        }
      }
    }
  });
}

class AffineKernel final : public Kernel {
 public:
  AffineKernel(const AffineStep& step, FoldedNorm norm) : step_(step), norm_(std::move(norm)) {
    const size_t padded = (norm_.scale.size() + kBlock - 1) / kBlock * kBlock;
    norm_.scale.resize(padded);  // zeros: padded channels stay zero
    norm_.shift.resize(padded);
  }
  void run(const Work& work) const noexcept override {
    const float *scale = norm_.scale.data(), *shift = norm_.shift.data();
    forPixels(work, step_.input, step_.input, step_.output, step_.activation,
              [=](float x, float, int c) { return x * scale[c] + shift[c]; });
  }
  size_t weightBytes() const override { return 2 * norm_.scale.size() * sizeof(float); }

 private:
  AffineStep step_;
  FoldedNorm norm_;
};

class AffineCandidate final : public Candidate {
 public:
  const char* name() const override { return "affine"; }
  std::string refuse(const StepQuery&) const override { return {}; }
  bool mayAlias(const StepQuery&, ValueId) const override { return true; }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    const auto& step = std::get<AffineStep>(context.query.step.body);
    auto norm = foldNorm(step.norm, context.layout(step.input).c, context.weights);
    if (!norm.ok()) return norm.takeStatus();
    return std::unique_ptr<Kernel>(std::make_unique<AffineKernel>(step, norm.take()));
  }
};

class AddKernel final : public Kernel {
 public:
  explicit AddKernel(const AddStep& step) : step_(step) {}
  void run(const Work& work) const noexcept override {
    forPixels(work, step_.a, step_.b, step_.output, step_.activation,
              [](float a, float b, int) { return a + b; });
  }

 private:
  AddStep step_;
};

class AddCandidate final : public Candidate {
 public:
  const char* name() const override { return "add"; }
  std::string refuse(const StepQuery&) const override { return {}; }
  bool mayAlias(const StepQuery&, ValueId) const override { return true; }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    return std::unique_ptr<Kernel>(
        std::make_unique<AddKernel>(std::get<AddStep>(context.query.step.body)));
  }
};

class ActivationKernel final : public Kernel {
 public:
  explicit ActivationKernel(const ActivationStep& step) : step_(step) {}
  void run(const Work& work) const noexcept override {
    forPixels(work, step_.input, step_.input, step_.output, step_.activation,
              [](float x, float, int) { return x; });
  }

 private:
  ActivationStep step_;
};

class ActivationCandidate final : public Candidate {
 public:
  const char* name() const override { return "activation"; }
  std::string refuse(const StepQuery&) const override { return {}; }
  bool mayAlias(const StepQuery&, ValueId) const override { return true; }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    return std::unique_ptr<Kernel>(
        std::make_unique<ActivationKernel>(std::get<ActivationStep>(context.query.step.body)));
  }
};

}  // namespace

const Candidate& affineCandidate() {
  static const AffineCandidate candidate;
  return candidate;
}
const Candidate& addCandidate() {
  static const AddCandidate candidate;
  return candidate;
}
const Candidate& activationCandidate() {
  static const ActivationCandidate candidate;
  return candidate;
}

}  // namespace resnet::cpu
