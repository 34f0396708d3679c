// Op cases on maps: pooling and pointwise operations.
#pragma once

#include <algorithm>

#include "op_case.h"

namespace resnet::test {

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
                    bool everyPlacement, cuda::ImageOrder order = cuda::ImageOrder::kForward) {
  Shape out = in;
  out.h = windowOutput(in.h, k.kernelH, k.strideH, k.padH, k.dilationH, k.ceilMode);
  out.w = windowOutput(in.w, k.kernelW, k.strideW, k.padW, k.dilationW, k.ceilMode);
  const auto call = [=](const Ops& ops, const Value& from, Value& to) {
    const cuda::PoolArguments arguments{
        from.view, to.view, k.kernelH,   k.kernelW,   k.strideH,         k.strideW,
        k.padH,    k.padW,  k.dilationH, k.dilationW, k.countIncludePad, order};
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
                             (k.countIncludePad ? "" : " -pad") +
                             (order == cuda::ImageOrder::kReverse ? " reverse" : "");
  addMaps(list, isMax ? "maxPool" : "avgPool", suffix, in, out, content, call, expect, isMax,
          everyPlacement);
}

inline void addPools(std::vector<OpCase>& list) {
  for (Shape in : {Shape{2, 9, 7, 16}, Shape{3, 5, 12, 3}, Shape{1, 6, 6, 37}}) {
    for (bool isMax : {true, false}) {
      for (Content content : {Content::kPlain, Content::kSpecial}) {
        for (cuda::ImageOrder order : {cuda::ImageOrder::kForward, cuda::ImageOrder::kReverse})
          addPool(list, isMax, in, {3, 3, 2, 2, 1, 1, 1, 1, false, true}, content, true, order);
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
  for (cuda::ImageOrder order : {cuda::ImageOrder::kForward, cuda::ImageOrder::kReverse}) {
    const auto call = [order](const Ops& ops, const Value& from, Value& to) {
      return ops.globalAvgPool(from.view, to.view, order, nullptr);
    };
    const std::string suffix = order == cuda::ImageOrder::kReverse ? " reverse" : "";
    for (Shape in : {Shape{3, 6, 5, 37}, Shape{1, 7, 7, 64}, Shape{2, 1, 1, 130}, Shape{2, 3, 5, 1},
                     Shape{5, 8, 4, 72}}) {
      for (Content content : {Content::kPlain, Content::kSpecial}) {
        addMaps(list, "globalAvgPool", suffix, in, {in.n, 1, 1, in.c}, content, call,
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
}

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

}  // namespace resnet::test
