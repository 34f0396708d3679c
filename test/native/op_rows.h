// The table of op cases: what a step is given, and what must come out, computed in float64. Whoever implements steps runs
// all of it: the CPU's tiers (steps_test.cc), our CUDA kernels, emulated thread for thread and on a device
// (test/cuda/kernels/op_table.h), and what the CUDA backend states to cuDNN for a linear step (test/cuda/lowering_test.cc).
// How a row is run is theirs: tiers, threads and batches there, dtypes, placements and orders of images here.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/plan.h"

namespace resnet::test {

struct Shape {
  int n = 1, h = 1, w = 1, c = 1;
  size_t count() const { return size_t(n) * h * w * c; }
};

inline float formula(int seed, size_t i) {  // uniform in [-2, 2)
  uint64_t z = uint64_t(seed) * 0x9E3779B97F4A7C15u + i * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return float((z ^ (z >> 31)) >> 40) * 0x1p-22f - 2.0f;
}
inline float formulaWithin(int seed, size_t i, double from, double to) {
  return float(from + (to - from) * (formula(seed, i) + 2) / 4);
}

// What a value holds. kSpecial mixes in NaN, infinities and -0; kTies has five numbers only.
enum class Content { kPlain, kSpecial, kTies, kAllNan, kNegativeInfinity, kLarge };
inline const char* contentName(Content content) {
  constexpr const char* kNames[] = {"", " special", " ties", " allNan", " -inf", " large"};
  return kNames[int(content)];
}
inline double contentAt(Content content, int seed, size_t i) {
  const double x = formula(seed, i);
  switch (content) {
    case Content::kPlain:
      return x;
    case Content::kSpecial:
      return x > 1.9 ? NAN : x > 1.8 ? INFINITY : x < -1.9 ? -INFINITY : x < -1.8 ? -0.0 : x;
    case Content::kTies:
      return x < -1 ? -0.0 : std::floor(x);
    case Content::kAllNan:
      return NAN;
    case Content::kNegativeInfinity:
      return -INFINITY;
    case Content::kLarge:
      return x * 3e4;
  }
  return 0;
}
// Of what lies at a place of a dense NHWC value.
inline size_t placeOf(Shape s, int n, int y, int x, int c) {
  return ((size_t(n) * s.h + y) * s.w + x) * s.c + c;
}

// Relative, and beside it absolute.
struct Tolerance {
  double relative = 0, absolute = 0;
};
inline bool agree(double got, double expected, Tolerance tolerance) {
  if (std::isnan(expected)) return std::isnan(got);
  if (got == expected) return true;  // infinities too
  return std::abs(got - expected) <= tolerance.relative * std::abs(expected) + tolerance.absolute;
}

// An element of a value, as the step sees it: rounded to whatever dtype it is in.
using Read = std::function<double(int n, int y, int x, int c)>;

// Seeds of formulas: an implementation fills its values and parameters by the same ones.
enum Seed {
  kInputSeed = 3,   // of the (first) input
  kSecondSeed = 4,  // of add's second
  kNormWeightSeed = 5,
  kNormBiasSeed,
  kMeanSeed,  // of an input step, too
  kDeviationSeed,
  kPixelSeed,
  kNormMeanSeed,
  kNormVarSeed,
  kWeightSeed,
  kBiasSeed,
};
constexpr double kNormEps = 1e-5;
inline float normWeight(int c) { return formulaWithin(kNormWeightSeed, c, -1, 1); }
inline float normBias(int c) { return formulaWithin(kNormBiasSeed, c, -1, 1); }
inline float normMean(int c) { return formulaWithin(kNormMeanSeed, c, -1, 1); }
inline float normVar(int c) { return formulaWithin(kNormVarSeed, c, 0.5, 2); }
inline double normScale(int c) { return normWeight(c) / std::sqrt(normVar(c) + kNormEps); }
inline double normShift(int c) { return normBias(c) - normMean(c) * normScale(c); }
inline float pixelMean(int c) { return formulaWithin(kMeanSeed, c, 0.4, 0.6); }
inline float pixelDeviation(int c) { return formulaWithin(kDeviationSeed, c, 0.2, 0.3); }
// w [k][c] of a linear step, its bias [k].
inline float linearWeight(int channels, int k, int c) {
  return formulaWithin(kWeightSeed, size_t(k) * channels + c, -0.5, 0.5);
}
inline float linearBias(int k) { return formulaWithin(kBiasSeed, k, -1, 1); }
// Element i of an input step's memory where it is pixels.
inline uint8_t pixelAt(size_t i) { return uint8_t(i * 37 + i / 7); }

struct OpRow {
  StepKind kind = StepKind::kActivation;
  Shape in{}, out{};
  Content content = Content::kPlain;
  PoolStep window{};                          // of the pools
  Activation activation = Activation::kNone;  // of affine, add, activation
  int k = 0;                                  // of topK and linear
  // Of input and output steps: the caller's memory.
  MemoryLayout layout = MemoryLayout::kNchw;
  DType source = DType::kFloat32;
  bool normalised = false;
  // In every way that an implementation has; otherwise in its plainest ones.
  bool thorough = false;

  bool exact() const {
    return kind == StepKind::kMaxPool || kind == StepKind::kActivation || kind == StepKind::kTopK;
  }
  std::string op() const { return kind == StepKind::kActivation ? "relu" : stepKindName(kind); }
  // What is said of a case beyond its shape.
  std::string suffix() const;
};

inline std::string pairText(const char* word, Spatial pair) {
  return std::string(" ") + word + std::to_string(pair.h) + "x" + std::to_string(pair.w);
}

inline std::string OpRow::suffix() const {
  switch (kind) {
    case StepKind::kMaxPool:
    case StepKind::kAvgPool:
      return pairText("k", window.kernel) + pairText("stride", window.stride) +
             pairText("pad", window.padding) + pairText("dilation", window.dilation) +
             (window.ceilMode ? " ceil" : "") + (window.countIncludePad ? "" : " -pad");
    case StepKind::kAffine:
    case StepKind::kAdd:
      return activation == Activation::kRelu ? " +relu" : "";
    case StepKind::kTopK:
    case StepKind::kLinear:
      return " k" + std::to_string(k);
    case StepKind::kInput:
      return std::string(layout == MemoryLayout::kNhwc ? " nhwc " : " nchw ") + dtypeName(source) +
             (source == DType::kUint8 && !normalised ? " as it is" : "");
    case StepKind::kOutput:
      return layout == MemoryLayout::kNhwc ? " nhwc" : " nchw";
    default:
      return "";
  }
}

// "n2 h9 w7 c16"
inline std::string shapeName(Shape s) {
  return std::string("n") + std::to_string(s.n) + " h" + std::to_string(s.h) + " w" +
         std::to_string(s.w) + " c" + std::to_string(s.c);
}

// Element i of the memory that an input step reads: what 16-bit floats hold exactly is the same in both.
inline double sourceAt(const OpRow& row, size_t i) {
  if (row.source == DType::kUint8) return pixelAt(i);
  const double x = contentAt(row.content, kPixelSeed, i);
  return row.source == DType::kFloat32 ? x : std::round(x * 128) / 128;
}
// Where an element lies in the caller's dense memory.
inline size_t placeIn(MemoryLayout layout, Shape s, int n, int y, int x, int c) {
  return layout == MemoryLayout::kNhwc ? placeOf(s, n, y, x, c)
                                       : ((size_t(n) * s.c + c) * s.h + y) * s.w + x;
}

// ---- what comes out ----

inline double clipped(double x, bool relu) { return relu && x < 0 ? 0 : x; }

// One axis of PyTorch's output size; in ceil mode no window may begin in the padding on the right.
inline int windowOutput(int in, int kernel, int stride, int pad, int dilation, bool ceilMode) {
  const int free = in + 2 * pad - dilation * (kernel - 1) - 1;
  int out = (free + (ceilMode ? stride - 1 : 0)) / stride + 1;
  if (ceilMode && (out - 1) * stride >= in + pad) --out;
  return out;
}
inline Shape pooledShape(Shape in, const PoolStep& k) {
  return {in.n, windowOutput(in.h, k.kernel.h, k.stride.h, k.padding.h, k.dilation.h, k.ceilMode),
          windowOutput(in.w, k.kernel.w, k.stride.w, k.padding.w, k.dilation.w, k.ceilMode), in.c};
}

inline double expectedPool(bool isMax, Shape in, const PoolStep& k, const Read& from, int n, int p,
                           int q, int c) {
  double sum = 0, best = -INFINITY;
  int inside = 0, padded = 0;
  bool nan = false;
  for (int r = 0; r < k.kernel.h; ++r) {
    for (int s = 0; s < k.kernel.w; ++s) {
      const int y = p * k.stride.h - k.padding.h + r * k.dilation.h;
      const int x = q * k.stride.w - k.padding.w + s * k.dilation.w;
      if (y < in.h + k.padding.h && x < in.w + k.padding.w) ++padded;
      if (y < 0 || x < 0 || y >= in.h || x >= in.w) continue;
      const double value = from(n, y, x, c);
      ++inside;
      sum += value;
      nan = nan || std::isnan(value);
      best = std::max(best, value);
    }
  }
  if (isMax) return nan ? double(NAN) : best;
  return sum / (k.countIncludePad ? padded : inside);
}

// Channels of an image by falling score, NaN first, ties by rising index.
inline std::vector<int> orderOf(const Read& from, int n, int channels) {
  std::vector<double> x(channels);
  std::vector<int> order(channels);
  for (int i = 0; i < channels; ++i) {
    x[i] = from(n, 0, 0, i);
    order[i] = i;
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return std::isnan(x[a]) ? !std::isnan(x[b]) : x[a] > x[b];
  });
  return order;
}

// What a row's step writes for an input of `images` images; `second` is add's other one.
class Reference {
 public:
  Reference(const OpRow& row, int images, Read from, Read second = nullptr)
      : row_(row), from_(std::move(from)), second_(std::move(second)) {
    for (int n = 0; n < images; ++n) {
      if (row.kind == StepKind::kTopK) orders_.push_back(orderOf(from_, n, row.in.c));
      if (row.kind == StepKind::kSoftmax) sums_.push_back(sumOf(n));
    }
  }

  // Element (n, p, q, c) of the output; of topK of the scores.
  double at(int n, int p, int q, int c) const {
    const bool relu = row_.activation == Activation::kRelu;
    switch (row_.kind) {
      case StepKind::kMaxPool:
      case StepKind::kAvgPool:
        return expectedPool(row_.kind == StepKind::kMaxPool, row_.in, row_.window, from_, n, p, q,
                            c);
      case StepKind::kGlobalAvgPool:
        return average(n, c);
      case StepKind::kLinear:
        return product(n, c);
      case StepKind::kAffine:
        return clipped((from_(n, p, q, c) - normMean(c)) * normScale(c) + normBias(c), relu);
      case StepKind::kAdd:
        return clipped(from_(n, p, q, c) + second_(n, p, q, c), relu);
      case StepKind::kActivation:
        return clipped(from_(n, p, q, c), true);
      case StepKind::kSoftmax:
        return std::exp(from_(n, 0, 0, c) - sums_[n].largest) / sums_[n].sum;
      case StepKind::kTopK:
        return from_(n, 0, 0, indexAt(n, c));
      case StepKind::kInput:
        return row_.source == DType::kUint8 ? level(from_(n, p, q, c), c) : from_(n, p, q, c);
      case StepKind::kOutput:
        return from_(n, p, q, c);
      case StepKind::kConv:
        break;  // conv_op_test.cc has its own table
    }
    return NAN;
  }
  // Of topK's other output.
  int indexAt(int n, int i) const { return orders_[n][i]; }

 private:
  struct Sum {
    double largest = -INFINITY, sum = 0;
  };

  Sum sumOf(int n) const {
    Sum all;
    for (int i = 0; i < row_.in.c; ++i) all.largest = std::fmax(all.largest, from_(n, 0, 0, i));
    for (int i = 0; i < row_.in.c; ++i) all.sum += std::exp(from_(n, 0, 0, i) - all.largest);
    return all;
  }
  double average(int n, int c) const {
    double sum = 0;
    for (int y = 0; y < row_.in.h; ++y)
      for (int x = 0; x < row_.in.w; ++x) sum += from_(n, y, x, c);
    return sum / (row_.in.h * row_.in.w);
  }
  double product(int n, int k) const {
    double sum = linearBias(k);
    for (int c = 0; c < row_.in.c; ++c)
      sum += double(linearWeight(row_.in.c, k, c)) * from_(n, 0, 0, c);
    return sum;
  }
  double level(double x, int c) const {
    return row_.normalised ? (x / 255 - pixelMean(c)) / pixelDeviation(c) : x / 255;
  }

  OpRow row_;
  Read from_, second_;
  std::vector<std::vector<int>> orders_;
  std::vector<Sum> sums_;
};

// ---- the rows ----

inline PoolStep window(Spatial kernel, Spatial stride, Spatial padding, Spatial dilation,
                       bool ceilMode, bool countIncludePad = true) {
  PoolStep step;
  step.kernel = kernel;
  step.stride = stride;
  step.padding = padding;
  step.dilation = dilation;
  step.ceilMode = ceilMode;
  step.countIncludePad = countIncludePad;
  return step;
}

inline OpRow poolRow(StepKind kind, Shape in, const PoolStep& window,
                     Content content = Content::kPlain, bool thorough = false) {
  OpRow row{.kind = kind, .in = in, .out = pooledShape(in, window), .content = content};
  row.window = window;
  row.thorough = thorough;
  return row;
}

inline void addPoolRows(std::vector<OpRow>& rows) {
  const StepKind max = StepKind::kMaxPool, average = StepKind::kAvgPool;
  const Spatial one{1, 1}, none{0, 0};
  const PoolStep stem = window({3, 3}, {2, 2}, one, one, false);
  for (Shape in : {Shape{2, 9, 7, 16}, Shape{3, 5, 12, 3}, Shape{1, 6, 6, 37}}) {
    for (StepKind kind : {max, average}) {
      for (Content content : {Content::kPlain, Content::kSpecial})
        rows.push_back(poolRow(kind, in, stem, content, true));
      rows.push_back(poolRow(kind, in, window({2, 2}, {2, 2}, none, one, true)));
      rows.push_back(poolRow(kind, in, window({3, 3}, {2, 2}, one, one, true)));
      rows.push_back(poolRow(kind, in, window({2, 3}, {1, 2}, {1, 0}, one, false)));
    }
    rows.push_back(
        poolRow(average, in, window({3, 3}, {2, 2}, one, one, true, false), Content::kPlain, true));
    // An average has no dilation.
    rows.push_back(poolRow(max, in, window({2, 3}, {1, 2}, {1, 0}, {2, 1}, false)));
    rows.push_back(poolRow(max, in, window({3, 2}, {2, 3}, one, {1, 2}, true)));
    rows.push_back(poolRow(max, in, window({2, 2}, one, one, {2, 2}, false)));
  }
  // No tap of the last window is inside: -inf, and the map is smaller than the window.
  rows.push_back(poolRow(max, {1, 1, 1, 5}, window({2, 2}, one, one, {2, 2}, false)));
  rows.push_back(poolRow(max, {1, 112, 112, 17}, stem));
  rows.push_back(poolRow(average, {1, 56, 56, 17}, stem));
}

inline void addMapRows(std::vector<OpRow>& rows) {
  const auto add = [&](StepKind kind, Shape in, Shape out, Content content, Activation activation) {
    OpRow row{.kind = kind, .in = in, .out = out, .content = content, .activation = activation};
    row.thorough = true;
    rows.push_back(row);
  };
  const Content contents[] = {Content::kPlain, Content::kSpecial};
  for (Shape in : {Shape{3, 6, 5, 37}, Shape{1, 7, 7, 64}, Shape{2, 1, 1, 130}, Shape{2, 3, 5, 1},
                   Shape{5, 8, 4, 72}})
    for (Content content : contents)
      add(StepKind::kGlobalAvgPool, in, {in.n, 1, 1, in.c}, content, Activation::kNone);
  for (Shape s :
       {Shape{2, 6, 5, 37}, Shape{3, 1, 1, 1000}, Shape{1, 9, 7, 64}, Shape{2, 3, 4, 3}}) {
    for (Content content : contents) {
      for (Activation activation : {Activation::kNone, Activation::kRelu}) {
        add(StepKind::kAffine, s, s, content, activation);
        add(StepKind::kAdd, s, s, content, activation);
      }
      add(StepKind::kActivation, s, s, content, Activation::kRelu);
    }
  }
}

inline void addVectorRows(std::vector<OpRow>& rows) {
  for (int c : {1, 7, 32, 33, 37, 256, 257, 1000}) {
    for (Content content : {Content::kPlain, Content::kSpecial, Content::kNegativeInfinity,
                            Content::kLarge, Content::kAllNan}) {
      OpRow row{.kind = StepKind::kSoftmax, .in = {2, 1, 1, c}, .out = {2, 1, 1, c}};
      row.content = content;
      row.thorough = c > 32 && content == Content::kPlain;
      rows.push_back(row);
    }
  }
  for (int c : {1, 2, 5, 37, 256, 257, 600}) {
    std::vector<int> ks{1, 2, 5, c - 1, c};
    std::sort(ks.begin(), ks.end());
    ks.erase(std::unique(ks.begin(), ks.end()), ks.end());
    for (int k : ks) {
      if (k < 1 || k > c) continue;
      for (Content content : {Content::kPlain, Content::kSpecial, Content::kTies, Content::kAllNan,
                              Content::kNegativeInfinity}) {
        OpRow row{.kind = StepKind::kTopK, .in = {3, 1, 1, c}, .out = {3, 1, 1, k}};
        row.content = content;
        row.k = k;
        rows.push_back(row);
      }
    }
  }
  for (Shape in : {Shape{3, 1, 1, 37}, Shape{5, 1, 1, 32}, Shape{2, 1, 1, 24}, Shape{1, 1, 1, 1}}) {
    for (int k : {1, 10, 16, 19}) {
      OpRow row{.kind = StepKind::kLinear, .in = in, .out = {in.n, 1, 1, k}};
      row.k = k;
      rows.push_back(row);
    }
  }
}

inline void addLayoutRows(std::vector<OpRow>& rows) {
  struct Source {
    DType dtype;
    bool normalised;
  };
  for (Shape s : {Shape{2, 5, 4, 3}, Shape{1, 9, 7, 37}, Shape{3, 1, 1, 21}, Shape{2, 4, 6, 16},
                  Shape{1, 17, 19, 1}}) {
    for (MemoryLayout layout : {MemoryLayout::kNchw, MemoryLayout::kNhwc}) {
      OpRow row{.in = s, .out = s, .content = Content::kSpecial};
      row.layout = layout;
      row.thorough = true;
      row.kind = StepKind::kInput;
      for (const auto [dtype, normalised] :
           {Source{DType::kFloat32, false}, Source{DType::kFloat16, false},
            Source{DType::kBFloat16, false}, Source{DType::kUint8, true},
            Source{DType::kUint8, false}}) {
        row.source = dtype;
        row.normalised = normalised;
        rows.push_back(row);
      }
      row.kind = StepKind::kOutput;
      rows.push_back(row);
    }
  }
}

inline std::vector<OpRow> opRows() {
  std::vector<OpRow> rows;
  addPoolRows(rows);
  addMapRows(rows);
  addVectorRows(rows);
  addLayoutRows(rows);
  return rows;
}

}  // namespace resnet::test
