// y = x w^T + b    x [N][C] f32, each image blocked; w [K/n][C/16][16][n] packed; y [N][K] f32
// needs: any N, C and K; images are the rows of the register tile; sums in f32
// bound: one image is memory, 4*C*K bytes of weights read once; many are compute, 2*N*C*K flop
#include <algorithm>
#include <cstring>

#include "cpu/conv/microkernel.h"
#include "cpu/conv/packing.h"
#include "cpu/conv/split.h"
#include "cpu/halo.h"
#include "cpu/linear/candidates.h"

namespace resnet::cpu {
namespace {

class LinearKernel final : public Kernel {
 public:
  LinearKernel(const MakeContext& context, const LinearStep& step, PanelPlan plan,
               std::shared_ptr<const PackedBuffer> packed)
      : kernels_(microkernels(context.query.isa)),
        input_(step.input),
        output_(step.output),
        in_(context.layout(step.input)),
        out_(context.layout(step.output)),
        plan_(std::move(plan)),
        packed_(std::move(packed)) {
    for (int b = 0; b < in_.blocks(); ++b) steps_.push_back(ptrdiff_t(in_.at(b, 0, 0)));
  }

  size_t scratchFloats() const override { return size_t(kernels_.maxRows) * kernels_.panel; }
  size_t weightBytes() const override { return packed_->bytes; }
  void run(const Work& work) const noexcept override;

 private:
  const Microkernels& kernels_;
  const ValueId input_, output_;
  const Layout in_, out_;
  const PanelPlan plan_;
  const std::shared_ptr<const PackedBuffer> packed_;
  std::vector<ptrdiff_t> steps_;
};

void LinearKernel::run(const Work& work) const noexcept {
  const View &x = work.view(input_), &y = work.view(output_);
  const int rows = kernels_.maxRows, n = kernels_.panel;
  const int tiles = (work.images + rows - 1) / rows;
  const double panelBytes = 4.0 * in_.blocks() * kBlock * n;
  SplitWork split;
  split.threads = work.threads;
  split.tiles = tiles;
  split.panels = int(plan_.panels.size());
  split.allTiles = double(work.images) / rows;
  split.largestTile = double((work.images + tiles - 1) / tiles) / rows;
  split.unitCycles = panelBytes / 4 / 16 * rows;
  split.tileBytes = 4.0 * in_.c * rows;
  split.panelBytes = panelBytes;
  const Share share = chooseShare(split, work.thread);
  if (work.thread == 0) {
    for (int i = 0; i < work.images; ++i) zeroHalo(out_, y.image(i));
  }
  TileArgs args;
  args.aStride = ptrdiff_t(x.imageStride);
  args.steps = steps_.data();
  args.stepCount = int(steps_.size());
  args.y0 = work.scratch;
  args.yBlockPitch = ptrdiff_t(rows) * kBlock;
  for (int p = share.panels.begin; p < share.panels.end; ++p) {
    args.w = packedFloats(*packed_) + plan_.panels[p].offset;
    args.shift = packedFloats(*packed_) + plan_.weightFloats + size_t(p) * n;
    args.blocks = plan_.panels[p].outputBlocks;
    for (int t = share.tiles.begin; t < share.tiles.end; ++t) {
      const Range images = shareOf(work.images, t, tiles);
      const int count = images.end - images.begin;
      args.a0 = x.image(images.begin);
      kernels_.run(count, count, args);
      for (int b = 0; b < args.blocks; ++b) {
        for (int i = 0; i < count; ++i) {
          std::memcpy(y.image(images.begin + i) + out_.at(p * (n / kBlock) + b, 0, 0),
                      work.scratch + (size_t(b) * rows + i) * kBlock, kBlock * sizeof(float));
        }
      }
    }
  }
}

class LinearCandidate final : public Candidate {
 public:
  const char* name() const override { return "linear"; }
  std::string refuse(const StepQuery&) const override { return {}; }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    const LinearStep& step = std::get<LinearStep>(context.query.step.body);
    const ConvStep conv = asConv(step);
    const int channels = context.layout(step.input).c;
    const int width = microkernels(context.query.isa).panel;
    PanelPlan plan = planPanels(conv.k, channels, 1, 1, width);
    auto fill = [&](float* out) -> Status {
      // Rows of w are read as they are: foldConv would ask for a four-dimensional weight.
      FoldedConv folded;
      folded.weight.resize(size_t(conv.k) * channels);
      RESNET_RETURN_IF_ERROR(
          context.weights.read(conv.weight, folded.weight.data(), folded.weight.size()));
      folded.scale.assign(conv.k, 1.0f);
      folded.shift.assign(conv.k, 0.0f);
      if (!conv.bias.empty()) {
        RESNET_RETURN_IF_ERROR(
            context.weights.read(conv.bias, folded.shift.data(), folded.shift.size()));
      }
      fillPanels(plan, conv, channels, width, folded, out);
      return Status::okay();
    };
    auto packed =
        packOnce(context.weights,
                 packingKey("linear f32 panels of " + std::to_string(width), conv, channels),
                 plan.weightFloats + plan.shiftFloats, fill);
    if (!packed.ok()) return packed.takeStatus();
    return std::unique_ptr<Kernel>(
        std::make_unique<LinearKernel>(context, step, std::move(plan), packed.take()));
  }
};

}  // namespace

const Candidate& linearCandidate() {
  static const LinearCandidate candidate;
  return candidate;
}

}  // namespace resnet::cpu
