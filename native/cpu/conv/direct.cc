// y = relu(conv(x, w) * scale + shift + residual)    scale: merged into w; shift: [K] f32
// x blocked [C/16][H + 2 halo][W + 2 halo][16] or thin [H + 2 halo][W + 2 halo][C], halo >= padding
// w [K/N][C/16][R*S][16][N] packed (thin: [K/N][R][S*C][N]); y blocked, its halo is written too
// needs: any N,H,W,C,K, window and groups (a panel of outputs reads the channel blocks that its
// groups touch, with zeros packed for foreign channels); y may alias residual; sums in f32
// bound: compute, 2*N*P*Q*K*R*S*C/groups flop (C/16 and K/N rounded up, groups to whole blocks);
// no im2col: one offset per (block, tap). Source: torch Conv2d; fold: Ioffe & Szegedy 2015
#include <algorithm>
#include <cstdint>

#include "cpu/conv/candidates.h"
#include "cpu/conv/microkernel.h"
#include "cpu/conv/packing.h"
#include "cpu/conv/split.h"

namespace resnet::cpu {

const Microkernels& microkernels(Isa isa) {
#if RESNET_X64
  if (isa == Isa::kAvx512) return kAvx512Microkernels;
  if (isa == Isa::kAvx2) return kAvx2Microkernels;
#endif
  (void)isa;
  return kPortableMicrokernels;
}

namespace {

// Input bytes that one pass over all panels works on; with a panel of weights beside it this stays
// in a 1 MB L2.
constexpr double kChunkBytes = 384 << 10;

// Output pixels come in lines that are contiguous in input and output: image rows, or whole images
// when a 1x1 convolution reads and writes maps without halo.
struct Lines {
  bool wholeImages = false;
  int perImage = 1, length = 1;
  int tilesPerLine = 1;
  bool paired = false;    // short lines: one tile takes two of them
  bool spanning = false;  // a tile may begin in one line and end in the next
  int maxRows = 1;

  int largestTile() const {
    if (spanning) return maxRows;
    return paired ? 2 * length : (length + tilesPerLine - 1) / tilesPerLine;
  }
  int tiles(int images) const {
    const int lines = images * perImage;
    if (spanning) return int((int64_t(lines) * length + maxRows - 1) / maxRows);
    return paired ? (lines + 1) / 2 : lines * tilesPerLine;
  }
};

Lines planLines(const ConvStep& step, const Layout& in, const Layout& out, const Layout* residual,
                const Microkernels& kernels) {
  const int maxRows = kernels.maxRows;
  const bool pointwise = step.kernel.h == 1 && step.kernel.w == 1 && step.stride.h == 1 &&
                         step.stride.w == 1 && step.padding.h == 0 && step.padding.w == 0;
  const bool gapless =
      in.halo == 0 && out.halo == 0 && (residual == nullptr || residual->halo == 0);
  Lines lines;
  lines.wholeImages = pointwise && gapless;
  lines.perImage = lines.wholeImages ? 1 : out.h;
  lines.length = lines.wholeImages ? out.h * out.w : out.w;
  lines.tilesPerLine = (lines.length + maxRows - 1) / maxRows;
  lines.paired = 2 * lines.length <= maxRows;
  lines.spanning = kernels.anySplit && lines.length >= maxRows;
  lines.maxRows = maxRows;
  return lines;
}

class DirectKernel final : public Kernel {
 public:
  DirectKernel(const MakeContext& context, const ConvStep& step, PanelPlan plan,
               std::shared_ptr<const PackedBuffer> packed)
      : kernels_(microkernels(context.query.isa)),
        input_(step.input),
        output_(step.output),
        residual_(step.residual),
        in_(context.layout(step.input)),
        out_(context.layout(step.output)),
        stride_(step.stride),
        padding_(step.padding),
        relu_(step.activation == Activation::kRelu),
        taps_(in_.thin ? step.kernel.h : step.kernel.h * step.kernel.w),
        depth_(in_.thin ? step.kernel.w * in_.c : kBlock),
        plan_(std::move(plan)),
        packed_(std::move(packed)) {
    const Layout* residual = residual_ == kNoValue ? nullptr : &context.layout(residual_);
    if (residual != nullptr) residualLayout_ = *residual;
    lines_ = planLines(step, in_, out_, residual, kernels_);
    for (int b = 0; b < (in_.thin ? 1 : in_.blocks()); ++b) {
      for (int r = 0; r < step.kernel.h; ++r) {
        for (int s = 0; s < (in_.thin ? 1 : step.kernel.w); ++s) {
          steps_.push_back(ptrdiff_t(b * in_.blockPitch() + r * step.dilation.h * in_.rowPitch() +
                                     size_t(s) * step.dilation.w * in_.channelPitch()));
        }
      }
    }
    inputBytesPerPixel_ = 4.0 * in_.c * std::min(step.stride.h, step.kernel.h) *
                          std::min(step.stride.w, step.kernel.w);
  }

  void run(const Work& work) const noexcept override;
  size_t weightBytes() const override { return packed_->bytes; }

 private:
  struct Line {
    const float* in;
    float* out;
    const float* residual;
  };
  Line line(const Work& work, int index, int x) const;
  void setTile(const Work& work, int tile, TileArgs* args, int* rows, int* m1) const;

  const Microkernels& kernels_;
  const ValueId input_, output_, residual_;
  const Layout in_, out_;
  Layout residualLayout_;
  const Spatial stride_, padding_;
  const bool relu_;
  const int taps_, depth_;
  const PanelPlan plan_;
  const std::shared_ptr<const PackedBuffer> packed_;
  Lines lines_;
  std::vector<ptrdiff_t> steps_;
  double inputBytesPerPixel_ = 0;
};

DirectKernel::Line DirectKernel::line(const Work& work, int index, int x) const {
  const int image = index / lines_.perImage, p = index % lines_.perImage;
  Line line;
  line.in = work.view(input_).image(image) + in_.origin() +
            (ptrdiff_t(p) * stride_.h - padding_.h) * ptrdiff_t(in_.rowPitch()) +
            (ptrdiff_t(x) * stride_.w - padding_.w) * in_.channelPitch();
  line.out = work.view(output_).image(image) + out_.at(0, p, x);
  line.residual = residual_ == kNoValue
                      ? nullptr
                      : work.view(residual_).image(image) + residualLayout_.at(0, p, x);
  return line;
}

void DirectKernel::setTile(const Work& work, int tile, TileArgs* args, int* rows, int* m1) const {
  Line first, second;
  if (lines_.spanning) {
    // Whole tiles but for the last: equal shares would cost a long division per tile.
    const unsigned begin = unsigned(tile) * unsigned(lines_.maxRows);
    const int index = int(begin / unsigned(lines_.length)),
              x = int(begin % unsigned(lines_.length));
    second = first = line(work, index, x);
    const int64_t pixels = int64_t(work.images) * lines_.perImage * lines_.length;
    *rows = int(std::min<int64_t>(lines_.maxRows, pixels - begin));
    *m1 = std::min(*rows, lines_.length - x);
    if (*m1 < *rows) second = line(work, index + 1, 0);
  } else if (lines_.paired) {
    const int lines = work.images * lines_.perImage;
    second = first = line(work, 2 * tile, 0);
    *m1 = *rows = lines_.length;
    if (2 * tile + 1 < lines) {
      second = line(work, 2 * tile + 1, 0);
      *rows = 2 * lines_.length;
    }
  } else {
    const Range range = shareOf(lines_.length, tile % lines_.tilesPerLine, lines_.tilesPerLine);
    second = first = line(work, tile / lines_.tilesPerLine, range.begin);
    *m1 = *rows = range.end - range.begin;
  }
  args->a0 = first.in;
  args->a1 = second.in;
  args->y0 = first.out;
  args->y1 = second.out;
  args->residual0 = first.residual;
  args->residual1 = second.residual;
}

void DirectKernel::run(const Work& work) const noexcept {
  const int tiles = lines_.tiles(work.images), panels = int(plan_.panels.size());
  const int n = kernels_.panel;
  const double tileBytes = inputBytesPerPixel_ * std::min(lines_.length, kernels_.maxRows);
  const double panelBytes = 4.0 * double(plan_.weightFloats) / panels;
  const double unitCycles = panelBytes / 4 / n * kernels_.maxRows * n / 16;
  SplitWork split;
  split.threads = work.threads;
  split.tiles = tiles;
  split.panels = panels;
  split.allTiles = double(work.images) * out_.h * out_.w / kernels_.maxRows;
  split.largestTile = double(lines_.largestTile()) / kernels_.maxRows;
  split.unitCycles = unitCycles;
  split.tileBytes = tileBytes;
  split.panelBytes = panelBytes;
  const Share share = chooseShare(split, work.thread);

  zeroHaloShare(work, output_);

  TileArgs args;
  args.aStride = ptrdiff_t(stride_.w) * in_.channelPitch();
  args.depth = depth_;
  args.yBlockPitch = ptrdiff_t(out_.blockPitch());
  args.residualBlockPitch = ptrdiff_t(residualLayout_.blockPitch());
  args.relu = relu_;
  const float* shifts = packedFloats(*packed_) + plan_.weightFloats;
  const int chunk = std::max(1, int(kChunkBytes / std::max(1.0, tileBytes)));
  for (int t0 = share.tiles.begin; t0 < share.tiles.end; t0 += chunk) {
    const int t1 = std::min(t0 + chunk, share.tiles.end);
    for (int p = share.panels.begin; p < share.panels.end; ++p) {
      const Panel& panel = plan_.panels[p];
      args.steps = steps_.data() + size_t(panel.firstBlock) * taps_;
      args.stepCount = in_.thin ? taps_ : panel.blocks * taps_;
      args.w = packedFloats(*packed_) + panel.offset;
      args.shift = shifts + size_t(p) * n;
      args.blocks = panel.outputBlocks;
      const size_t block = size_t(p) * (n / kBlock);
      for (int t = t0; t < t1; ++t) {
        int rows, m1;
        setTile(work, t, &args, &rows, &m1);
        args.y0 += block * out_.blockPitch();
        args.y1 += block * out_.blockPitch();
        if (args.residual0 != nullptr) {
          args.residual0 += block * residualLayout_.blockPitch();
          args.residual1 += block * residualLayout_.blockPitch();
        }
        kernels_.run(rows, m1, args);
      }
    }
  }
}

Result<std::unique_ptr<Kernel>> makeBlocked(const MakeContext& context) {
  const ConvStep& step = convOf(context.query);
  const int channels = context.layout(step.input).c;
  const int width = microkernels(context.query.isa).panel;
  PanelPlan plan = planPanels(step.k, channels, step.groups, step.kernel.h * step.kernel.w, width);
  auto packed = packOnce(context.weights,
                         packingKey("conv f32 panels of " + std::to_string(width), step, channels),
                         plan.weightFloats + plan.shiftFloats, [&](float* out) -> Status {
                           auto folded = foldConv(step, channels, context.weights);
                           if (!folded.ok()) return folded.takeStatus();
                           fillPanels(plan, step, channels, width, folded.value(), out);
                           return Status::okay();
                         });
  if (!packed.ok()) return packed.takeStatus();
  return std::unique_ptr<Kernel>(
      std::make_unique<DirectKernel>(context, step, std::move(plan), packed.take()));
}

Result<std::unique_ptr<Kernel>> makeThin(const MakeContext& context) {
  const ConvStep& step = convOf(context.query);
  const int channels = context.layout(step.input).c;
  const int width = microkernels(context.query.isa).panel;
  const int depth = step.kernel.w * channels;
  PanelPlan plan;
  const size_t panelFloats = size_t(step.kernel.h) * depth * width;
  for (int k0 = 0; k0 < step.k; k0 += width) {
    plan.panels.push_back(
        {0, 1, plan.weightFloats, (std::min(width, step.k - k0) + kBlock - 1) / kBlock});
    plan.weightFloats += panelFloats;
  }
  plan.shiftFloats = plan.panels.size() * width;
  // KRSC is [K][R][S*C] already: a panel is its transpose.
  auto fill = [&](float* out) -> Status {
    auto folded = foldConv(step, channels, context.weights);
    if (!folded.ok()) return folded.takeStatus();
    const FoldedConv& f = folded.value();
    for (int k = 0; k < step.k; ++k) {
      float* to = out + plan.panels[k / width].offset + k % width;
      const float* from = f.weight.data() + size_t(k) * step.kernel.h * depth;
      for (int i = 0; i < step.kernel.h * depth; ++i) to[size_t(i) * width] = from[i] * f.scale[k];
      out[plan.weightFloats + k] = f.shift[k];
    }
    return Status::okay();
  };
  auto packed =
      packOnce(context.weights,
               packingKey("conv f32 thin panels of " + std::to_string(width), step, channels),
               plan.weightFloats + plan.shiftFloats, fill);
  if (!packed.ok()) return packed.takeStatus();
  return std::unique_ptr<Kernel>(
      std::make_unique<DirectKernel>(context, step, std::move(plan), packed.take()));
}

int haloOf(const ConvStep& step) { return std::max(step.padding.h, step.padding.w); }

class DirectConv final : public Candidate {
 public:
  const char* name() const override { return "direct"; }
  std::string refuse(const StepQuery&) const override { return {}; }
  InputWish wish(const StepQuery& query) const override { return {false, haloOf(convOf(query))}; }
  bool mayAlias(const StepQuery& query, ValueId input) const override {
    return input == convOf(query).residual && input != convOf(query).input;
  }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    return makeBlocked(context);
  }
};

class ThinConv final : public Candidate {
 public:
  const char* name() const override { return "direct thin"; }
  std::string refuse(const StepQuery& query) const override {
    const ConvStep& step = convOf(query);
    const int channels = query.value(step.input).c;
    if (channels > 4) return std::to_string(channels) + " channels, more than 4";
    if (step.groups != 1) return "groups " + std::to_string(step.groups);
    if (step.dilation.w != 1) return "dilation " + std::to_string(step.dilation.w);
    return {};
  }
  InputWish wish(const StepQuery& query) const override { return {true, haloOf(convOf(query))}; }
  bool mayAlias(const StepQuery& query, ValueId input) const override {
    return directConv().mayAlias(query, input);
  }
  // Another reader may have kept the value blocked.
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override {
    return context.layout(convOf(context.query).input).thin ? makeThin(context)
                                                            : makeBlocked(context);
  }
};

}  // namespace

const Candidate& directConv() {
  static const DirectConv candidate;
  return candidate;
}
const Candidate& thinConv() {
  static const ThinConv candidate;
  return candidate;
}

}  // namespace resnet::cpu
