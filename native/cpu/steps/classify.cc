// softmax: y[c] = exp(x[c] - max x) / sum; sum in double
// topK: the k largest of x and their indices, by falling score, ties by rising index, NaN above
// every number x, y [1,1,C]; one image per thread at a time; bound: neither, thousands of elements.
// Source: torch softmax, topk
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "cpu/steps/candidates.h"

namespace resnet::cpu {
namespace {

class SoftmaxKernel final : public Kernel {
 public:
  explicit SoftmaxKernel(const SoftmaxStep& step) : step_(step) {}
  void run(const Work& work) const noexcept override {
    const View &in = work.view(step_.input), &out = work.view(step_.output);
    const int c = in.layout->c;
    const Range share = shareOf(work.images, work.thread, work.threads);
    for (int image = share.begin; image < share.end; ++image) {
      const float* x = in.image(image) + in.layout->origin();
      float* y = out.image(image) + out.layout->origin();
      float largest = x[0];
      for (int i = 1; i < c; ++i) largest = x[i] > largest || x[i] != x[i] ? x[i] : largest;
      double sum = 0;
      for (int i = 0; i < c; ++i) {
        y[i] = std::exp(x[i] - largest);
        sum += y[i];
      }
      const float inverse = float(1.0 / sum);
      for (int i = 0; i < c; ++i) y[i] *= inverse;
      std::fill(y + c, y + out.layout->blocks() * kBlock, 0.0f);
    }
  }

 private:
  SoftmaxStep step_;
};

class SoftmaxCandidate final : public Candidate {
 public:
  const char* name() const override { return "softmax"; }
  std::string refuse(const StepQuery&) const override { return {}; }
  bool mayAlias(const StepQuery&, ValueId) const override { return true; }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    return std::unique_ptr<Kernel>(
        std::make_unique<SoftmaxKernel>(std::get<SoftmaxStep>(context.query.step.body)));
  }
};

class TopKKernel final : public Kernel {
 public:
  TopKKernel(const TopKStep& step, int channels) : step_(step), channels_(channels) {}
  size_t scratchFloats() const override { return size_t(channels_); }

  void run(const Work& work) const noexcept override {
    const View &in = work.view(step_.input), &scores = work.view(step_.scores),
               &indices = work.view(step_.indices);
    auto* order = reinterpret_cast<int32_t*>(work.scratch);
    const Range share = shareOf(work.images, work.thread, work.threads);
    for (int image = share.begin; image < share.end; ++image) {
      const float* x = in.image(image) + in.layout->origin();
      std::iota(order, order + channels_, 0);
      std::partial_sort(order, order + step_.k, order + channels_, [x](int32_t a, int32_t b) {
        const bool nanA = x[a] != x[a], nanB = x[b] != x[b];
        if (nanA != nanB) return nanA;
        if (!nanA && x[a] != x[b]) return x[a] > x[b];
        return a < b;
      });
      float* score = scores.image(image) + scores.layout->origin();
      auto* index = reinterpret_cast<int32_t*>(indices.image(image) + indices.layout->origin());
      for (int i = 0; i < step_.k; ++i) {
        score[i] = x[order[i]];
        index[i] = order[i];
      }
      std::fill(score + step_.k, score + scores.layout->blocks() * kBlock, 0.0f);
    }
  }

 private:
  TopKStep step_;
  int channels_;
};

class TopKCandidate final : public Candidate {
 public:
  const char* name() const override { return "top-k"; }
  std::string refuse(const StepQuery&) const override { return {}; }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    const auto& step = std::get<TopKStep>(context.query.step.body);
    return std::unique_ptr<Kernel>(
        std::make_unique<TopKKernel>(step, context.layout(step.input).c));
  }
};

}  // namespace

const Candidate& softmaxCandidate() {
  static const SoftmaxCandidate candidate;
  return candidate;
}
const Candidate& topKCandidate() {
  static const TopKCandidate candidate;
  return candidate;
}

}  // namespace resnet::cpu
