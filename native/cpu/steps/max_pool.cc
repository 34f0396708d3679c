// maxPool: shapes, layout and bound in max_pool_row.h. Threads share the rows of whole images, as
// the convolutions before and after do, so that most of what a thread reads is in its own cache.
#include <algorithm>

#include "cpu/halo.h"
#include "cpu/steps/candidates.h"
#include "cpu/steps/max_pool_row.h"

namespace resnet::cpu {
namespace {

MaxPoolRowFunction rowFunction(Isa isa) {
#if RESNET_X64
  if (isa == Isa::kAvx512) return kAvx512MaxPoolRow;
  if (isa == Isa::kAvx2) return kAvx2MaxPoolRow;
#endif
  (void)isa;
  return kPortableMaxPoolRow;
}

class MaxPoolKernel final : public Kernel {
 public:
  MaxPoolKernel(const PoolStep& step, const Layout& in, const Layout& out, Isa isa)
      : step_(step), in_(in), out_(out), row_(rowFunction(isa)) {}

  void run(const Work& work) const noexcept override {
    const Range share = shareOf(work.images * out_.h, work.thread, work.threads);
    for (int i = share.begin; i < share.end;) {
      const int image = i / out_.h, begin = i % out_.h;
      const int end = std::min(out_.h, begin + share.end - i);
      for (int block = 0; block < out_.blocks(); ++block) {
        const float* x = work.view(step_.input).image(image);
        float* y = work.view(step_.output).image(image);
        zeroHaloRows(out_, y, block, begin, end);
        for (int p = begin; p < end; ++p) row(x, y, block, p);
      }
      i += end - begin;
    }
  }

 private:
  void row(const float* x, float* y, int block, int p) const {
    const int top = p * step_.stride.h - step_.padding.h;
    int first = 0, end = step_.kernel.h;
    while (first < end && top + first * step_.dilation.h < 0) ++first;
    while (end > first && top + (end - 1) * step_.dilation.h >= in_.h) --end;
    MaxPoolRow args;
    args.x = x + in_.at(block, std::max(0, top + first * step_.dilation.h), 0);
    args.rows = end - first;
    args.rowStep = ptrdiff_t(step_.dilation.h * in_.rowPitch());
    args.width = in_.w;
    args.kernel = step_.kernel.w;
    args.stride = step_.stride.w;
    args.padding = step_.padding.w;
    args.dilation = step_.dilation.w;
    args.y = y + out_.at(block, p, 0);
    args.columns = out_.w;
    row_(args);
  }

  const PoolStep step_;
  const Layout in_, out_;
  const MaxPoolRowFunction row_;
};

class MaxPoolCandidate final : public Candidate {
 public:
  const char* name() const override { return "max pool"; }
  std::string refuse(const StepQuery&) const override { return {}; }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    const auto& step = std::get<PoolStep>(context.query.step.body);
    return std::unique_ptr<Kernel>(std::make_unique<MaxPoolKernel>(
        step, context.layout(step.input), context.layout(step.output), context.query.isa));
  }
};

}  // namespace

const Candidate& maxPoolCandidate() {
  static const MaxPoolCandidate candidate;
  return candidate;
}

}  // namespace resnet::cpu
