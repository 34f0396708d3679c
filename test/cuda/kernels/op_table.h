// The table of op cases of the kernels: each runs one launch function on formula inputs and holds the
// result against a plain reference in float64. kernels_test.cc runs it on the kernels, mutants_test.cc
// on kernels with one fault each.
#pragma once

#include <algorithm>
#include <limits>
#include <map>
#include <memory>

#include "cuda/kernels/kernels.h"
#include "device_value.h"

namespace resnet::test {

// The functions under test.
struct Ops {
  decltype(&cuda::input) input;
  decltype(&cuda::output) output;
  decltype(&cuda::maxPool) maxPool;
  decltype(&cuda::avgPool) avgPool;
  decltype(&cuda::globalAvgPool) globalAvgPool;
  decltype(&cuda::affine) affine;
  decltype(&cuda::add) add;
  decltype(&cuda::relu) relu;
  decltype(&cuda::softmax) softmax;
  decltype(&cuda::topK) topK;
  decltype(&cuda::packWeights) packWeights;
  decltype(&cuda::resize) resize;
  decltype(&cuda::resizeScratchFloats) resizeScratchFloats;
};

struct OpCase {
  std::string op, name;
  std::function<void(const Ops&, Report&)> run;
};

inline float formula(int seed, size_t i) {  // uniform in [-2, 2)
  uint64_t z = uint64_t(seed) * 0x9E3779B97F4A7C15u + i * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return float((z ^ (z >> 31)) >> 40) * 0x1p-22f - 2.0f;
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
inline Value::Formula filled(Shape s, Content content, int seed) {
  return [=](int n, int y, int x, int c) {
    return contentAt(content, seed, ((size_t(n) * s.h + y) * s.w + x) * s.c + c);
  };
}

constexpr DType kFloats[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};
struct Pair {
  Placement from, to;
};
constexpr Pair kPairs[] = {
    {Placement::kPadded, Placement::kPadded},  {Placement::kSlice, Placement::kSlice},
    {Placement::kPadded, Placement::kSlice},   {Placement::kSlice, Placement::kPadded},
    {Placement::kDense, Placement::kOddSlice}, {Placement::kOddSlice, Placement::kShifted},
    {Placement::kShifted, Placement::kDense}};

inline std::string title(const std::string& op, DType dtype, Shape s, Pair pair) {
  const std::string shape = " n" + std::to_string(s.n) + " h" + std::to_string(s.h) + " w" +
                            std::to_string(s.w) + " c" + std::to_string(s.c);
  return op + " " + dtypeName(dtype) + shape + " " + placementName(pair.from) + "->" +
         placementName(pair.to);
}

inline void succeeded(Report& report, cudaError_t error) {
  if (error != cudaSuccess) report.add("the launch gave error " + std::to_string(int(error)));
}

// call(from, to, expected) for every float type and placement.
using Call = std::function<cudaError_t(const Ops&, const Value& from, Value& to)>;
using Expect = std::function<double(const Value& from, int n, int y, int x, int c)>;
inline void addMaps(std::vector<OpCase>& list, const std::string& op, const std::string& suffix,
                    Shape in, Shape out, Content content, Call call, Expect expect,
                    bool exact = false, bool everyPlacement = true) {
  for (DType dtype : kFloats) {
    for (Pair pair : kPairs) {
      if (!everyPlacement && pair.from != Placement::kPadded) continue;
      list.push_back({op, title(op, dtype, in, pair) + suffix + contentName(content),
                      [=](const Ops& ops, Report& report) {
                        Value from(in, dtype, pair.from), to(out, dtype, pair.to);
                        from.fill(filled(in, content, 3));
                        succeeded(report, call(ops, from, to));
                        to.check(
                            report,
                            [&](int n, int y, int x, int c) { return expect(from, n, y, x, c); },
                            exact ? Tolerance{} : toleranceOf(dtype));
                      }});
    }
  }
}

struct Window {
  int kernelH, kernelW, strideH, strideW, padH, padW, dilationH, dilationW;
  bool ceilMode, countIncludePad;
};

// One axis of PyTorch's output size; in ceil mode no window may begin in the padding on the right.
inline int windowOutput(int in, int kernel, int stride, int pad, int dilation, bool ceilMode) {
  const int free = in + 2 * pad - dilation * (kernel - 1) - 1;
  int out = (free + (ceilMode ? stride - 1 : 0)) / stride + 1;
  if (ceilMode && (out - 1) * stride >= in + pad) --out;
  return out;
}

inline void addPool(std::vector<OpCase>& list, bool isMax, Shape in, Window k, Content content,
                    bool everyPlacement) {
  Shape out = in;
  out.h = windowOutput(in.h, k.kernelH, k.strideH, k.padH, k.dilationH, k.ceilMode);
  out.w = windowOutput(in.w, k.kernelW, k.strideW, k.padW, k.dilationW, k.ceilMode);
  const auto call = [=](const Ops& ops, const Value& from, Value& to) {
    const cuda::PoolArguments arguments{from.view,   to.view,     k.kernelH,        k.kernelW,
                                        k.strideH,   k.strideW,   k.padH,           k.padW,
                                        k.dilationH, k.dilationW, k.countIncludePad};
    return isMax ? ops.maxPool(arguments, nullptr) : ops.avgPool(arguments, nullptr);
  };
  const auto expect = [=](const Value& from, int n, int p, int q, int c) {
    double sum = 0, best = -INFINITY;
    int inside = 0, padded = 0;
    bool nan = false;
    for (int r = 0; r < k.kernelH; ++r) {
      for (int s = 0; s < k.kernelW; ++s) {
        const int y = p * k.strideH - k.padH + r * k.dilationH;
        const int x = q * k.strideW - k.padW + s * k.dilationW;
        if (y < in.h + k.padH && x < in.w + k.padW) ++padded;
        if (y < 0 || x < 0 || y >= in.h || x >= in.w) continue;
        const double value = from.get(n, y, x, c);
        ++inside;
        sum += value;
        nan = nan || std::isnan(value);
        best = std::max(best, value);
      }
    }
    if (isMax) return nan ? double(NAN) : best;
    return sum / (k.countIncludePad ? padded : inside);
  };
  const std::string suffix = " k" + std::to_string(k.kernelH) + "x" + std::to_string(k.kernelW) +
                             " stride" + std::to_string(k.strideH) + "x" +
                             std::to_string(k.strideW) + " pad" + std::to_string(k.padH) + "x" +
                             std::to_string(k.padW) + " dilation" + std::to_string(k.dilationH) +
                             "x" + std::to_string(k.dilationW) + (k.ceilMode ? " ceil" : "") +
                             (k.countIncludePad ? "" : " -pad");
  addMaps(list, isMax ? "maxPool" : "avgPool", suffix, in, out, content, call, expect, isMax,
          everyPlacement);
}

inline void addPools(std::vector<OpCase>& list) {
  for (Shape in : {Shape{2, 9, 7, 16}, Shape{3, 5, 12, 3}, Shape{1, 6, 6, 37}}) {
    for (bool isMax : {true, false}) {
      for (Content content : {Content::kPlain, Content::kSpecial}) {
        addPool(list, isMax, in, {3, 3, 2, 2, 1, 1, 1, 1, false, true}, content, true);
      }
      addPool(list, isMax, in, {2, 2, 2, 2, 0, 0, 1, 1, true, true}, Content::kPlain, false);
      addPool(list, isMax, in, {2, 3, 1, 2, 1, 0, 2, 1, false, true}, Content::kPlain, false);
      addPool(list, isMax, in, {3, 2, 2, 3, 1, 1, 1, 2, true, true}, Content::kPlain, false);
    }
    addPool(list, false, in, {3, 3, 2, 2, 1, 1, 1, 1, true, false}, Content::kPlain, true);
  }
  // No tap of the last window is inside: -inf, and the map is smaller than the window.
  addPool(list, true, {1, 1, 1, 5}, {2, 2, 1, 1, 1, 1, 2, 2, false, true}, Content::kPlain, false);
  addPool(list, true, {1, 112, 112, 17}, {3, 3, 2, 2, 1, 1, 1, 1, false, true}, Content::kPlain,
          false);
}

inline void addGlobalPools(std::vector<OpCase>& list) {
  const auto call = [](const Ops& ops, const Value& from, Value& to) {
    return ops.globalAvgPool(from.view, to.view, nullptr);
  };
  for (Shape in : {Shape{3, 6, 5, 37}, Shape{1, 7, 7, 64}, Shape{2, 1, 1, 130}, Shape{2, 3, 5, 1},
                   Shape{5, 8, 4, 72}}) {
    for (Content content : {Content::kPlain, Content::kSpecial}) {
      addMaps(list, "globalAvgPool", "", in, {in.n, 1, 1, in.c}, content, call,
              [=](const Value& from, int n, int, int, int c) {
                double sum = 0;
                for (int y = 0; y < in.h; ++y) {
                  for (int x = 0; x < in.w; ++x) sum += from.get(n, y, x, c);
                }
                return sum / (in.h * in.w);
              });
    }
  }
}

inline std::shared_ptr<Guarded> floats(int count, int seed, double from, double to) {
  auto memory = std::make_shared<Guarded>(size_t(count) * 4);
  for (int i = 0; i < count; ++i) {
    memory->as<float>()[i] = float(from + (to - from) * (formula(seed, i) + 2) / 4);
  }
  return memory;
}

inline double clipped(double x, bool relu) { return relu && x < 0 ? 0 : x; }

inline void addPointwise(std::vector<OpCase>& list) {
  for (Shape s :
       {Shape{2, 6, 5, 37}, Shape{3, 1, 1, 1000}, Shape{1, 9, 7, 64}, Shape{2, 3, 4, 3}}) {
    for (Content content : {Content::kPlain, Content::kSpecial}) {
      for (bool relu : {false, true}) {
        const std::string suffix = relu ? " +relu" : "";
        const auto scale = floats(s.c, 5, -1, 1), shift = floats(s.c, 6, -1, 1);
        addMaps(
            list, "affine", suffix, s, s, content,
            [=](const Ops& ops, const Value& from, Value& to) {
              return ops.affine(from.view, to.view, scale->as<float>(), shift->as<float>(), relu,
                                nullptr);
            },
            [=](const Value& from, int n, int y, int x, int c) {
              return clipped(from.get(n, y, x, c) * scale->as<float>()[c] + shift->as<float>()[c],
                             relu);
            });
        for (DType dtype : kFloats) {
          for (Pair pair : kPairs) {
            list.push_back({"add", title("add", dtype, s, pair) + suffix + contentName(content),
                            [=](const Ops& ops, Report& report) {
                              Value a(s, dtype, pair.from), b(s, dtype, pair.from),
                                  to(s, dtype, pair.to);
                              a.fill(filled(s, content, 3));
                              b.fill(filled(s, content, 4));
                              succeeded(report, ops.add(a.view, b.view, to.view, relu, nullptr));
                              to.check(
                                  report,
                                  [&](int n, int y, int x, int c) {
                                    return clipped(a.get(n, y, x, c) + b.get(n, y, x, c), relu);
                                  },
                                  toleranceOf(dtype));
                            }});
          }
        }
      }
      addMaps(
          list, "relu", "", s, s, content,
          [](const Ops& ops, const Value& from, Value& to) {
            return ops.relu(from.view, to.view, nullptr);
          },
          [](const Value& from, int n, int y, int x, int c) {
            return clipped(from.get(n, y, x, c), true);
          },
          true);
    }
  }
  // More images than a grid's second dimension has blocks.
  addMaps(
      list, "relu", "", {65600, 1, 1, 2}, {65600, 1, 1, 2}, Content::kPlain,
      [](const Ops& ops, const Value& from, Value& to) {
        return ops.relu(from.view, to.view, nullptr);
      },
      [](const Value& from, int n, int, int, int c) { return clipped(from.get(n, 0, 0, c), true); },
      true, false);
  // In place.
  const Shape s{2, 3, 5, 21};
  for (DType dtype : kFloats) {
    for (const char* op : {"add", "affine", "relu"}) {
      list.push_back(
          {op, std::string(op) + " in place " + dtypeName(dtype),
           [=, name = std::string(op)](const Ops& ops, Report& report) {
             const Placement padded = Placement::kPadded;
             Value a(s, dtype, padded), b(s, dtype, padded), before(s, dtype, padded);
             a.fill(filled(s, Content::kPlain, 3));
             before.fill(filled(s, Content::kPlain, 3));
             b.fill(filled(s, Content::kPlain, 4));
             const auto ones = floats(s.c, 1, 1, 1);
             const float* const one = ones->as<float>();
             succeeded(report, name == "add" ? ops.add(a.view, b.view, a.view, true, nullptr)
                               : name == "relu"
                                   ? ops.relu(a.view, a.view, nullptr)
                                   : ops.affine(a.view, a.view, one, one, true, nullptr));
             a.check(
                 report,
                 [&](int n, int y, int x, int c) {
                   const double other = name == "add" ? b.get(n, y, x, c) : name == "relu" ? 0 : 1;
                   return clipped(before.get(n, y, x, c) + other, true);
                 },
                 toleranceOf(dtype));
           }});
    }
  }
}

inline void addSoftmax(std::vector<OpCase>& list) {
  for (int c : {1, 7, 32, 33, 37, 256, 257, 1000}) {
    for (Content content : {Content::kPlain, Content::kSpecial, Content::kNegativeInfinity,
                            Content::kLarge, Content::kAllNan}) {
      const Shape s{2, 1, 1, c};
      addMaps(
          list, "softmax", "", s, s, content,
          [](const Ops& ops, const Value& from, Value& to) {
            return ops.softmax(from.view, to.view, nullptr);
          },
          [=](const Value& from, int n, int, int, int channel) {
            double largest = -INFINITY, sum = 0;
            for (int i = 0; i < c; ++i) largest = std::fmax(largest, from.get(n, 0, 0, i));
            for (int i = 0; i < c; ++i) sum += std::exp(from.get(n, 0, 0, i) - largest);
            return std::exp(from.get(n, 0, 0, channel) - largest) / sum;
          },
          false, c > 32 && content == Content::kPlain);
    }
  }
}

inline void addTopK(std::vector<OpCase>& list) {
  for (int c : {1, 2, 5, 37, 256, 257, 600}) {
    std::vector<int> ks{1, 2, 5, c - 1, c};
    std::sort(ks.begin(), ks.end());
    ks.erase(std::unique(ks.begin(), ks.end()), ks.end());
    for (int k : ks) {
      if (k < 1 || k > c) continue;
      for (Content content : {Content::kPlain, Content::kSpecial, Content::kTies, Content::kAllNan,
                              Content::kNegativeInfinity}) {
        for (DType dtype : kFloats) {
          const Shape in{3, 1, 1, c}, out{3, 1, 1, k};
          const Pair pair =
              kPairs[(size_t(c) + k + size_t(content) + size_t(dtype)) % std::size(kPairs)];
          list.push_back(
              {"topK",
               title("topK", dtype, in, pair) + " k" + std::to_string(k) + contentName(content),
               [=](const Ops& ops, Report& report) {
                 Value from(in, dtype, pair.from), scores(out, dtype, pair.to),
                     indices(out, DType::kInt32, pair.to);
                 from.fill(filled(in, content, 3));
                 succeeded(report, ops.topK(from.view, scores.view, indices.view, k, nullptr));
                 std::vector<std::vector<int>> order(in.n, std::vector<int>(c));
                 for (int n = 0; n < in.n; ++n) {
                   for (int i = 0; i < c; ++i) order[n][i] = i;
                   std::stable_sort(order[n].begin(), order[n].end(), [&](int a, int b) {
                     const double x = from.get(n, 0, 0, a), y = from.get(n, 0, 0, b);
                     return std::isnan(x) ? !std::isnan(y) : x > y;
                   });
                 }
                 scores.check(
                     report, [&](int n, int, int, int i) { return from.get(n, 0, 0, order[n][i]); },
                     {});
                 indices.check(report, [&](int n, int, int, int i) { return order[n][i]; }, {});
               }});
        }
      }
    }
  }
}

inline void addLayouts(std::vector<OpCase>& list) {
  for (Shape s : {Shape{2, 5, 4, 3}, Shape{1, 9, 7, 37}, Shape{3, 1, 1, 21}, Shape{2, 4, 6, 16},
                  Shape{1, 17, 19, 1}}) {
    for (bool nhwc : {false, true}) {
      const auto dense = [=](int n, int y, int x, int c) {
        return nhwc ? ((size_t(n) * s.h + y) * s.w + x) * s.c + c
                    : ((size_t(n) * s.c + c) * s.h + y) * s.w + x;
      };
      const size_t count = size_t(s.n) * s.h * s.w * s.c;
      const std::string layout = nhwc ? " nhwc" : " nchw";
      for (Placement placement : kPlacements) {
        const Pair pair{placement, placement};
        for (DType dtype : kFloats) {
          for (int kind = 0; kind < 3; ++kind) {  // float32; uint8 normalised; uint8 without
            const bool bytes = kind > 0, normalised = kind == 1;
            list.push_back(
                {"input",
                 title("input", dtype, s, pair) + layout +
                     (bytes ? normalised ? " uint8" : " uint8 as it is" : " float32"),
                 [=](const Ops& ops, Report& report) {
                   Guarded source(count * (bytes ? 1 : 4));
                   for (size_t i = 0; i < count; ++i) {
                     if (bytes) {
                       source.as<uint8_t>()[i] = uint8_t(i * 37 + i / 7);
                     } else {
                       source.as<float>()[i] = float(contentAt(Content::kSpecial, 9, i));
                     }
                   }
                   const auto mean = floats(s.c, 7, 0.4, 0.6), deviation = floats(s.c, 8, 0.2, 0.3);
                   Value to(s, dtype, placement);
                   cuda::InputArguments arguments;
                   arguments.source = source.data();
                   arguments.sourceType = bytes ? DType::kUint8 : DType::kFloat32;
                   arguments.nhwc = nhwc;
                   arguments.mean = normalised ? mean->as<float>() : nullptr;
                   arguments.std = normalised ? deviation->as<float>() : nullptr;
                   arguments.to = to.view;
                   succeeded(report, ops.input(arguments, nullptr));
                   to.check(
                       report,
                       [&](int n, int y, int x, int c) -> double {
                         const size_t i = dense(n, y, x, c);
                         if (!bytes) return source.as<float>()[i];
                         const double level = source.as<uint8_t>()[i] / 255.0;
                         if (!normalised) return level;
                         return (level - mean->as<float>()[c]) / deviation->as<float>()[c];
                       },
                       toleranceOf(dtype));
                 }});
          }
        }
        for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt32}) {
          list.push_back(
              {"output", title("output", dtype, s, pair) + layout,
               [=](const Ops& ops, Report& report) {
                 Value from(s, dtype, placement);
                 const bool integers = dtype == DType::kInt32;
                 from.fill([&](int n, int y, int x, int c) -> double {
                   const size_t i = dense(n, y, x, c);
                   return integers ? double(i) - 7 : contentAt(Content::kSpecial, 9, i);
                 });
                 Guarded destination(count * 4);
                 succeeded(report, ops.output({from.view, destination.data(), nhwc}, nullptr));
                 destination.check(report, "destination");
                 for (int n = 0; n < s.n; ++n) {
                   for (int y = 0; y < s.h; ++y) {
                     for (int x = 0; x < s.w; ++x) {
                       for (int c = 0; c < s.c; ++c) {
                         const size_t i = dense(n, y, x, c);
                         const double got = readElement(destination.data() + i * 4,
                                                        integers ? dtype : DType::kFloat32);
                         if (!agree(got, from.get(n, y, x, c), {})) {
                           report.add("element " + std::to_string(i) + " is " +
                                      std::to_string(got));
                         }
                       }
                     }
                   }
                 }
               }});
        }
      }
    }
  }
}

inline void addPackWeights(std::vector<OpCase>& list) {
  struct Row {
    int k, c, r, s, toK, pitch;
  };
  for (Row row : {Row{5, 3, 3, 2, 8, 8}, Row{16, 12, 1, 1, 16, 16}, Row{3, 3, 7, 7, 3, 4},
                  Row{10, 37, 1, 1, 16, 40}}) {
    for (DType dtype : kFloats) {
      for (bool scaled : {true, false}) {
        list.push_back({"packWeights",
                        std::string("packWeights ") + dtypeName(dtype) + " k" +
                            std::to_string(row.k) + " c" + std::to_string(row.c) + " r" +
                            std::to_string(row.r) + " to k" + std::to_string(row.toK) + " c" +
                            std::to_string(row.pitch) + (scaled ? " scaled" : ""),
                        [=](const Ops& ops, Report& report) {
                          const auto weight = floats(row.k * row.r * row.s * row.c, 2, -1, 1),
                                     scale = floats(row.k, 3, -2, 2);
                          Value to({row.toK, row.r, row.s, row.pitch}, dtype, Placement::kDense);
                          cuda::PackArguments arguments;
                          arguments.weight = weight->as<float>();
                          arguments.scale = scaled ? scale->as<float>() : nullptr;
                          arguments.k = row.k;
                          arguments.c = row.c;
                          arguments.to = to.view;
                          succeeded(report, ops.packWeights(arguments, nullptr));
                          to.check(
                              report,
                              [&](int k, int r, int s, int c) -> double {
                                if (k >= row.k || c >= row.c) return 0;
                                const size_t i = ((size_t(k) * row.r + r) * row.s + s) * row.c + c;
                                return double(weight->as<float>()[i]) *
                                       (scaled ? scale->as<float>()[k] : 1);
                              },
                              toleranceOf(dtype));
                        }});
      }
    }
  }
}

// A picture resized as Pillow 13.0 does it, level for level: two passes in the order that Pillow takes.
class Picture {
 public:
  Picture(int height, int width, int c)
      : height(height), width(width), c(c), levels(size_t(height) * width * c) {}
  uint8_t& at(int y, int x, int channel) { return levels[(size_t(y) * width + x) * c + channel]; }

  Picture along(bool rows, int length) {
    const int before = rows ? height : width;
    Picture result(rows ? length : height, rows ? width : length, c);
    const double scale = double(before) / length, reach = std::max(scale, 1.0);
    for (int i = 0; i < length; ++i) {
      const double centre = (i + 0.5) * scale;
      std::map<int, double> weights;
      double sum = 0;
      for (int j = int(std::max(centre - reach + 0.5, 0.0));
           j < before && j < int(centre + reach + 0.5); ++j) {
        weights[j] = std::max(0.0, 1 - std::abs((j - centre + 0.5) * (1 / reach)));
        sum += weights[j];
      }
      for (int other = 0; other < (rows ? width : height); ++other) {
        for (int channel = 0; channel < c; ++channel) {
          int64_t total = 1 << 21;
          for (const auto& [j, weight] : weights) {
            total += int64_t(weight / sum * (1 << 22) + 0.5) *
                     (rows ? at(j, other, channel) : at(other, j, channel));
          }
          (rows ? result.at(i, other, channel) : result.at(other, i, channel)) =
              uint8_t(std::clamp<int64_t>(total >> 22, 0, 255));
        }
      }
    }
    return result;
  }
  uint64_t digest() const {  // FNV-1a
    uint64_t hash = 14695981039346656037u;
    for (uint8_t level : levels) hash = (hash ^ level) * 1099511628211u;
    return hash;
  }

  int height, width, c;
  std::vector<uint8_t> levels;
};

struct ResizeRow {
  int height, width, c, toHeight, toWidth;
  uint64_t digest;  // of the whole resized picture, computed with Pillow 13.0.0
  int top, left, h, w;
};
constexpr ResizeRow kResizeRows[] = {
    {37, 29, 3, 16, 13, 1723818261536480245u, 0, 0, 16, 13},
    {40, 31, 3, 24, 18, 13215632173186258563u, 3, 2, 17, 14},
    {200, 20, 3, 15, 10, 4436622887038369940u, 2, 1, 11, 8},
    {9, 11, 3, 23, 27, 14179321353516026352u, 4, 5, 15, 16},
    {16, 16, 1, 16, 16, 16101913633932172002u, 1, 1, 14, 14},
    {30, 90, 4, 10, 15, 8158853896960730849u, 0, 2, 10, 11},
    {64, 48, 3, 1, 1, 3439966278972833558u, 0, 0, 1, 1},
    {90, 30, 3, 10, 15, 17012168225959707545u, 1, 0, 8, 15},
};

inline Picture pictureOf(const ResizeRow& row) {
  Picture picture(row.height, row.width, row.c);
  for (size_t i = 0; i < picture.levels.size(); ++i) {
    picture.levels[i] = uint8_t((i * 2654435761u >> 13) ^ (i / 11));
  }
  return picture;
}
inline Picture resized(Picture picture, const ResizeRow& row) {
  const int shrinkY = row.height - row.toHeight, shrinkX = row.width - row.toWidth;
  const bool verticalFirst = shrinkY > 0 && shrinkY > 2 * shrinkX;
  return picture.along(verticalFirst, verticalFirst ? row.toHeight : row.toWidth)
      .along(!verticalFirst, verticalFirst ? row.toWidth : row.toHeight);
}

inline void addResizes(std::vector<OpCase>& list) {
  for (const ResizeRow& row : kResizeRows) {
    for (DType dtype : kFloats) {
      for (Placement placement : kPlacements) {
        const Shape shape{1, row.h, row.w, row.c};
        list.push_back({"resize",
                        title("resize", dtype, shape, {placement, placement}) + " from " +
                            std::to_string(row.height) + "x" + std::to_string(row.width) + " by " +
                            std::to_string(row.toHeight) + "x" + std::to_string(row.toWidth),
                        [=](const Ops& ops, Report& report) {
                          const Picture picture = pictureOf(row);
                          Guarded source(picture.levels.size());
                          std::memcpy(source.data(), picture.levels.data(), picture.levels.size());
                          const auto mean = floats(row.c, 7, 0.4, 0.6),
                                     deviation = floats(row.c, 8, 0.2, 0.3);
                          Value to(shape, dtype, placement);
                          cuda::ResizeArguments arguments{source.as<uint8_t>(),
                                                          row.height,
                                                          row.width,
                                                          row.toHeight,
                                                          row.toWidth,
                                                          row.top,
                                                          row.left,
                                                          mean->as<float>(),
                                                          deviation->as<float>(),
                                                          to.view};
                          Guarded scratch(ops.resizeScratchFloats(arguments) * 4);
                          arguments.scratch = scratch.as<float>();
                          succeeded(report, ops.resize(arguments, nullptr));
                          scratch.check(report, "scratch");
                          Picture expected = resized(picture, row);
                          if (expected.digest() != row.digest) {
                            report.add("the reference differs from Pillow's digest");
                          }
                          to.check(
                              report,
                              [&](int, int y, int x, int c) {
                                const double level =
                                    expected.at(row.top + y, row.left + x, c) / 255.0;
                                return (level - mean->as<float>()[c]) / deviation->as<float>()[c];
                              },
                              toleranceOf(dtype));
                        }});
      }
    }
  }
}

inline std::vector<OpCase> opCases() {
  std::vector<OpCase> list;
  addPools(list);
  addGlobalPools(list);
  addPointwise(list);
  addSoftmax(list);
  addTopK(list);
  addLayouts(list);
  addPackWeights(list);
  addResizes(list);
  return list;
}

}  // namespace resnet::test
