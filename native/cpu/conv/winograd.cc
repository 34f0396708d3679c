// y = relu(conv3x3(x, w) * scale + shift + residual) by Winograd's F(m x m, 3 x 3), m = 4 or 2
// Source: Lavin & Gray 2015
// x blocked [C/16][H + 2 halo][W + 2 halo][16], any halo; y blocked, its halo is written too
// U = G (w * scale) G^T in double, rounded: [K/N][(m+2)^2][C/16][16][N]
// V = B^T x B [(m+2)^2][C/16][tiles][16]
// products per panel [(m+2)^2][N/16][tiles][16]; sums in f32
// needs: 3x3, stride 1, dilation 1, groups 1, any padding; y may alias residual
// bound: compute, (m+2)^2 / (9 m^2) of the direct multiply-adds (m = 4: 1/4, m = 2: 4/9) plus the
// transforms; reads (m+2)^2 / 9 times the weights, which decides at small batches
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/conv/candidates.h"
#include "cpu/conv/microkernel.h"
#include "cpu/conv/packing.h"
#include "cpu/conv/split.h"
#include "cpu/conv/winograd_transform.h"

namespace resnet::cpu {
namespace {

// V of one thread's block of tiles: it stays in L2 beside a panel of products, unless the weights
// come from memory; then reading them once counts for more.
constexpr size_t kBlockBytes = 300 << 10, kLargeBlockBytes = size_t(4) << 20;
constexpr size_t kLargeWeightBytes = size_t(4) << 20;
constexpr double kTransformCycles = 200;  // one tile, one channel block, either direction

const WinogradTransforms& transformsOf(Isa isa, int m) {
#if RESNET_X64
  if (isa == Isa::kAvx512) return kAvx512Winograd[m / 4];
  if (isa == Isa::kAvx2) return kAvx2Winograd[m / 4];
#endif
  (void)isa;
  return kPortableWinograd[m / 4];
}

// Lines of V and of the products are an odd number of cache lines apart: powers of two would fall
// on one set of L1.
size_t oddLines(size_t floats) { return (floats / kBlock | 1) * kBlock; }

template <int m>
class WinogradKernel final : public Kernel {
 public:
  static constexpr int a = m + 2, kValues = a * a;

  WinogradKernel(const MakeContext& context, const ConvStep& step,
                 std::shared_ptr<const PackedBuffer> packed)
      : kernels_(microkernels(context.query.isa)),
        transforms_(transformsOf(context.query.isa, m)),
        input_(step.input),
        output_(step.output),
        residual_(step.residual),
        in_(context.layout(step.input)),
        out_(context.layout(step.output)),
        padding_(step.padding),
        relu_(step.activation == Activation::kRelu),
        panels_(ceilDiv(step.k, kernels_.panel)),
        panelFloats_(size_t(kValues) * in_.blocks() * kBlock * kernels_.panel),
        packed_(std::move(packed)) {
    if (residual_ != kNoValue) residualLayout_ = context.layout(residual_);
    tilesX_ = ceilDiv(out_.w, m);
    tilesPerImage_ = ceilDiv(out_.h, m) * tilesX_;
    const size_t tileBytes = sizeof(float) * kValues * in_.blocks() * kBlock;
    const bool largeWeights = sizeof(float) * panelFloats_ * panels_ > kLargeWeightBytes;
    const int fitting = int((largeWeights ? kLargeBlockBytes : kBlockBytes) / tileBytes);
    blockTiles_ = std::min(std::max(1, fitting / kernels_.maxRows) * kernels_.maxRows,
                           tilesPerImage_ * context.query.batch);
  }

  size_t scratchFloats() const override {
    return inputFloats(blockTiles_) + productFloats(blockTiles_);
  }
  size_t weightBytes() const override { return packed_->bytes; }
  void run(const Work& work) const noexcept override;

 private:
  size_t inputPitch(int tiles) const { return oddLines(size_t(in_.blocks()) * tiles * kBlock); }
  size_t productPitch(int tiles) const { return oddLines(size_t(tiles) * kernels_.panel); }
  size_t inputFloats(int tiles) const { return kValues * inputPitch(tiles); }
  size_t productFloats(int tiles) const { return kValues * productPitch(tiles); }

  void runBlock(const Work& work, Range tiles, Range panels) const;
  // V of one tile and channel block.
  void transformInput(const Work& work, int block, int tile, float* v, size_t pitch) const;
  void multiply(const float* v, int tiles, int panel, float* products) const;
  void transformOutput(const Work& work, Range tiles, int panel, const float* products) const;

  struct TilePlace {
    int image, y, x;  // of the first output pixel
  };
  TilePlace place(int tile) const {
    const int inImage = tile % tilesPerImage_;
    return {tile / tilesPerImage_, inImage / tilesX_ * m, inImage % tilesX_ * m};
  }

  const Microkernels& kernels_;
  const WinogradTransforms& transforms_;
  const ValueId input_, output_, residual_;
  const Layout in_, out_;
  Layout residualLayout_;
  const Spatial padding_;
  const bool relu_;
  const int panels_;
  const size_t panelFloats_;
  const std::shared_ptr<const PackedBuffer> packed_;
  int tilesX_ = 1, tilesPerImage_ = 1;
  int blockTiles_ = 1;
};

template <int m>
void WinogradKernel<m>::run(const Work& work) const noexcept {
  zeroHaloShare(work, output_);
  const int tiles = work.images * tilesPerImage_;
  SplitWork split;
  split.threads = work.threads;
  split.tiles = ceilDiv(tiles, kernels_.maxRows);
  split.panels = panels_;
  split.allTiles = double(tiles) / kernels_.maxRows;
  split.largestTile = double(ceilDiv(tiles, split.tiles)) / kernels_.maxRows;
  split.unitCycles =
      kernels_.maxRows * (double(panelFloats_) / 16 + kTransformCycles * kernels_.panel / kBlock);
  split.tileBytes = 4.0 * kernels_.maxRows * m * m * in_.c;
  split.panelBytes = 4.0 * double(panelFloats_);
  split.tileCycles = kernels_.maxRows * in_.blocks() * kTransformCycles;
  const Share share = chooseShare(split, work.thread);
  const Range mine = {shareOf(tiles, share.tiles.begin, split.tiles).begin,
                      shareOf(tiles, share.tiles.end, split.tiles).begin};
  const int blocks = ceilDiv(mine.end - mine.begin, blockTiles_);
  for (int i = 0; i < blocks; ++i) {
    const Range block = shareOf(mine.end - mine.begin, i, blocks);
    runBlock(work, {mine.begin + block.begin, mine.begin + block.end}, share.panels);
  }
}

// Threads that share tiles but not panels each transform the input for themselves: to fetch V from
// another core's cache takes longer, several times so when the two cores have no cache in common.
template <int m>
void WinogradKernel<m>::runBlock(const Work& work, Range tiles, Range panels) const {
  if (panels.begin >= panels.end) return;
  const int count = tiles.end - tiles.begin;
  float* v = work.scratch;
  float* products = v + inputFloats(count);
  for (int b = 0; b < in_.blocks(); ++b) {
    for (int t = 0; t < count; ++t) {
      transformInput(work, b, tiles.begin + t, v + (size_t(b) * count + t) * kBlock,
                     inputPitch(count));
    }
  }
  for (int p = panels.begin; p < panels.end; ++p) {
    multiply(v, count, p, products);
    transformOutput(work, tiles, p, products);
  }
}

template <int m>
void WinogradKernel<m>::transformInput(const Work& work, int block, int tile, float* v,
                                       size_t pitch) const {
  const TilePlace at = place(tile);
  const int y = at.y - padding_.h, x = at.x - padding_.w, halo = in_.halo;
  const float* image = work.view(input_).image(at.image);
  const ptrdiff_t rowPitch = ptrdiff_t(in_.rowPitch());
  const float* pixels = image + ptrdiff_t(block * in_.blockPitch() + in_.origin());
  if (y >= -halo && x >= -halo && y + a <= in_.h + halo && x + a <= in_.w + halo) {
    transforms_.input(pixels + y * rowPitch + x * kBlock, rowPitch, v, ptrdiff_t(pitch));
    return;
  }
  alignas(64) float tileCopy[kValues * kBlock];
  for (int i = 0; i < a; ++i) {
    for (int j = 0; j < a; ++j) {
      float* to = tileCopy + (i * a + j) * kBlock;
      if (y + i >= 0 && y + i < in_.h && x + j >= 0 && x + j < in_.w) {
        std::memcpy(to, pixels + (y + i) * rowPitch + (x + j) * kBlock, kBlock * sizeof(float));
      } else {
        std::memset(to, 0, kBlock * sizeof(float));
      }
    }
  }
  transforms_.input(tileCopy, a * kBlock, v, ptrdiff_t(pitch));
}

template <int m>
void WinogradKernel<m>::multiply(const float* v, int tiles, int panel, float* products) const {
  constexpr int kMaxBlocks = 256;
  ptrdiff_t steps[kMaxBlocks];
  const size_t vPitch = inputPitch(tiles), pPitch = productPitch(tiles);
  const int n = kernels_.panel, parts = ceilDiv(tiles, kernels_.maxRows);
  for (int b = 0; b < in_.blocks(); ++b) steps[b] = ptrdiff_t(b) * tiles * kBlock;
  TileArgs args;
  args.steps = steps;
  args.stepCount = in_.blocks();
  args.yBlockPitch = ptrdiff_t(tiles) * kBlock;
  args.blocks = n / kBlock;
  for (int f = 0; f < kValues; ++f) {
    args.w = packedFloats(*packed_) + panel * panelFloats_ + size_t(f) * in_.blocks() * kBlock * n;
    for (int part = 0; part < parts; ++part) {
      const Range r = shareOf(tiles, part, parts);
      const size_t row = size_t(r.begin) * kBlock;
      args.a0 = args.a1 = v + f * vPitch + row;
      args.y0 = args.y1 = products + f * pPitch + row;
      kernels_.run(r.end - r.begin, r.end - r.begin, args);
    }
  }
}

template <int m>
void WinogradKernel<m>::transformOutput(const Work& work, Range tiles, int panel,
                                        const float* products) const {
  const int count = tiles.end - tiles.begin;
  const int perPanel = kernels_.panel / kBlock, firstBlock = panel * perPanel;
  const int blocks = std::min(perPanel, out_.blocks() - firstBlock);
  const float* shifts = packedFloats(*packed_) + panels_ * panelFloats_;
  WinogradOutput args;
  args.pitch = ptrdiff_t(productPitch(count));
  args.yRowPitch = ptrdiff_t(out_.rowPitch());
  args.residualRowPitch = ptrdiff_t(residualLayout_.rowPitch());
  args.relu = relu_;
  for (int b = 0; b < blocks; ++b) {
    args.shift = shifts + size_t(firstBlock + b) * kBlock;
    for (int t = 0; t < count; ++t) {
      const TilePlace at = place(tiles.begin + t);
      args.products = products + (size_t(b) * count + t) * kBlock;
      args.y = work.view(output_).image(at.image) + out_.at(firstBlock + b, at.y, at.x);
      if (residual_ != kNoValue) {
        args.residual =
            work.view(residual_).image(at.image) + residualLayout_.at(firstBlock + b, at.y, at.x);
      }
      args.rows = std::min(m, out_.h - at.y);
      args.columns = std::min(m, out_.w - at.x);
      transforms_.output(args);
    }
  }
}

// One column of G g, in double: g0, g1, g2 -> m + 2 values, for each of `n` filters.
template <int m>
void filterTransform(const double* g0, const double* g1, const double* g2, double* u, size_t uPitch,
                     int n) {
  for (int i = 0; i < n; ++i) {
    const double even = g0[i] + g2[i], odd = g1[i];
    double* to = u + i;
    if constexpr (m == 2) {
      to[0] = g0[i];
      to[uPitch] = (even + odd) / 2;
      to[2 * uPitch] = (even - odd) / 2;
      to[3 * uPitch] = g2[i];
    } else {
      const double far = g0[i] / 24 + g2[i] / 6;
      to[0] = g0[i] / 4;
      to[uPitch] = -(even + odd) / 6;
      to[2 * uPitch] = -(even - odd) / 6;
      to[3 * uPitch] = far + odd / 12;
      to[4 * uPitch] = far - odd / 12;
      to[5 * uPitch] = g2[i];
    }
  }
}

// One input channel of one panel: U[f][n] at u + f * pitch + n.
template <int m>
void transformFilters(const ConvStep& step, int channels, const FoldedConv& folded, int firstK,
                      int width, int c, float* u, size_t pitch) {
  constexpr int a = m + 2, kWidth = 32;
  double g[9][kWidth] = {}, half[3][a][kWidth],
         full[a][a][kWidth];  // half: [s][row], full: [row][column]
  const int count = std::min(width, step.k - firstK);
  for (int n = 0; n < count; ++n) {
    const float* from = folded.weight.data() + size_t(firstK + n) * 9 * channels + c;
    const double scale = folded.scale[firstK + n];
    for (int tap = 0; tap < 9; ++tap) g[tap][n] = from[size_t(tap) * channels] * scale;
  }
  for (int s = 0; s < 3; ++s)
    filterTransform<m>(g[s], g[3 + s], g[6 + s], half[s][0], kWidth, kWidth);
  for (int i = 0; i < a; ++i) {
    filterTransform<m>(half[0][i], half[1][i], half[2][i], full[i][0], kWidth, kWidth);
    for (int j = 0; j < a; ++j) {
      for (int n = 0; n < count; ++n) u[(i * a + j) * pitch + n] = float(full[i][j][n]);
    }
  }
}

template <int m>
class WinogradConv final : public Candidate {
 public:
  const char* name() const override { return m == 4 ? "winograd f4x4" : "winograd f2x2"; }
  std::string refuse(const StepQuery& query) const override {
    std::string reason = winogradShapeRefusal(query);
    return reason.empty() ? refuseSlow(query) : reason;
  }
  bool mayAlias(const StepQuery& query, ValueId input) const override {
    return directConv().mayAlias(query, input);
  }
  Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const override;

 private:
  std::string refuseSlow(const StepQuery& query) const;
};

// Cycles of one thread for a product of `rows` pixels or tiles with [depth][k] weights that are
// read from memory.
double productCycles(const StepQuery& query, double rows, double depth, double k) {
  constexpr double kLatencyCycles = 4, kCallCycles = 60;
  const Balance balance = hostBalance(query.isa);
  const Microkernels& kernels = microkernels(query.isa);
  const double tiles = std::ceil(rows / kernels.maxRows), panels = std::ceil(k / kernels.panel);
  const double step = std::max(rows / tiles * kernels.panel / balance.multiplyAdds, kLatencyCycles);
  const double compute = tiles * panels * (depth * step + kCallCycles);
  return std::max(compute / query.threads,
                  4 * depth * k / balance.streamedBytes / std::min(query.threads, 2));
}

// The model behind the choice. On Zen 4 it picks what was measured to be fastest for every 3x3
// layer of ResNet-18 and -50, with one and two threads, batch 1 and 8; on Emerald Rapids at batch 1 with two.
double winogradCycles(const StepQuery& query, int m) {
  const ConvStep& step = convOf(query);
  const ValueInfo &in = query.value(step.input), &out = query.value(step.output);
  const double c = ceilDiv(in.c, kBlock) * kBlock, values = (m + 2) * (m + 2);
  const double tiles = double(query.batch) * ceilDiv(out.h, m) * ceilDiv(out.w, m);
  return values * productCycles(query, tiles, c, step.k) +
         tiles * (c + step.k) / kBlock * kTransformCycles / query.threads;
}

double directCycles(const StepQuery& query) {
  const ConvStep& step = convOf(query);
  const ValueInfo &in = query.value(step.input), &out = query.value(step.output);
  const double c = ceilDiv(in.c, kBlock) * kBlock;
  return productCycles(query, double(query.batch) * out.h * out.w, 9 * c, step.k);
}

// It must gain a tenth at least, since it takes more memory and rounds a little more.
template <int m>
std::string WinogradConv<m>::refuseSlow(const StepQuery& query) const {
  const double mine = winogradCycles(query, m), direct = directCycles(query);
  auto percent = [](double part, double whole) {
    return std::to_string(int(100 * part / whole)) + "%";
  };
  if (mine > 0.9 * direct) return "estimated at " + percent(mine, direct) + " of direct's time";
  if (m == 4) {
    const double small = winogradCycles(query, 2);
    if (mine > small) return "estimated at " + percent(mine, small) + " of f2x2's time";
  }
  return {};
}

template <int m>
Result<std::unique_ptr<Kernel>> WinogradConv<m>::make(const MakeContext& context) const {
  constexpr int kValues = (m + 2) * (m + 2);
  const ConvStep& step = convOf(context.query);
  const Layout& in = context.layout(step.input);
  const int channels = in.c, width = microkernels(context.query.isa).panel;
  const int panels = ceilDiv(step.k, width);
  const size_t pitch = size_t(in.blocks()) * kBlock * width;
  const size_t weightFloats = panels * kValues * pitch;
  auto fill = [&](float* out) -> Status {
    auto folded = foldConv(step, channels, context.weights);
    if (!folded.ok()) return folded.takeStatus();
    for (int p = 0; p < panels; ++p) {
      for (int c = 0; c < channels; ++c) {
        transformFilters<m>(step, channels, folded.value(), p * width, width, c,
                            out + p * kValues * pitch + size_t(c) * width, pitch);
      }
    }
    std::memcpy(out + weightFloats, folded.value().shift.data(), step.k * sizeof(float));
    return Status::okay();
  };
  auto packed = packOnce(
      context.weights,
      packingKey(std::string(name()) + " f32 panels of " + std::to_string(width), step, channels),
      weightFloats + size_t(panels) * width, fill);
  if (!packed.ok()) return packed.takeStatus();
  return std::unique_ptr<Kernel>(std::make_unique<WinogradKernel<m>>(context, step, packed.take()));
}

}  // namespace

std::string winogradShapeRefusal(const StepQuery& query) {
  const ConvStep& step = convOf(query);
  auto pair = [](Spatial s) { return std::to_string(s.h) + "x" + std::to_string(s.w); };
  if (query.precision == Float32Precision::kHighest) return "float32Precision 'highest'";
  if (step.kernel.h != 3 || step.kernel.w != 3) return "kernel " + pair(step.kernel);
  if (step.stride.h != 1 || step.stride.w != 1) return "stride " + pair(step.stride);
  if (step.dilation.h != 1 || step.dilation.w != 1) return "dilation " + pair(step.dilation);
  if (step.groups != 1) return "groups " + std::to_string(step.groups);
  if (query.value(step.input).c > 4096)
    return std::to_string(query.value(step.input).c) + " channels, more than 4096";
  return {};
}

const Candidate& winogradF4() {
  static const WinogradConv<4> candidate;
  return candidate;
}
const Candidate& winogradF2() {
  static const WinogradConv<2> candidate;
  return candidate;
}

}  // namespace resnet::cpu
