// The table of op cases of the kernels. kernels_test.cc runs it on the kernels, mutants_test.cc on
// kernels with one fault each.
#pragma once

#include <algorithm>

#include "map_cases.h"
#include "op_case.h"
#include "resize_cases.h"

namespace resnet::test {

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
          struct Source {
            DType dtype;
            bool normalised;
          };
          for (const auto [from, normalised] :
               {Source{DType::kFloat32, false}, Source{DType::kFloat16, false},
                Source{DType::kBFloat16, false}, Source{DType::kUint8, true},
                Source{DType::kUint8, false}}) {
            const bool bytes = from == DType::kUint8;
            const size_t elementBytes = dtypeBytes(from);
            list.push_back(
                {"input",
                 title("input", dtype, s, pair) + layout + " " + dtypeName(from) +
                     (bytes && !normalised ? " as it is" : ""),
                 [=, from = from, normalised = normalised](const Ops& ops, Report& report) {
                   Guarded source(count * elementBytes);
                   for (size_t i = 0; i < count; ++i) {
                     if (bytes) {
                       source.as<uint8_t>()[i] = uint8_t(i * 37 + i / 7);
                     } else {
                       writeElement(source.data() + i * elementBytes, from,
                                    contentAt(Content::kSpecial, 9, i));
                     }
                   }
                   const auto mean = floats(s.c, 7, 0.4, 0.6), deviation = floats(s.c, 8, 0.2, 0.3);
                   Value to(s, dtype, placement);
                   cuda::InputArguments arguments;
                   arguments.source = source.data();
                   arguments.sourceType = from;
                   arguments.nhwc = nhwc;
                   arguments.mean = normalised ? mean->as<float>() : nullptr;
                   arguments.std = normalised ? deviation->as<float>() : nullptr;
                   arguments.to = to.view;
                   if (bytes != nhwc) arguments.order = cuda::ImageOrder::kReverse;
                   succeeded(report, ops.input(arguments, nullptr));
                   to.check(
                       report,
                       [&](int n, int y, int x, int c) -> double {
                         const size_t i = dense(n, y, x, c);
                         if (!bytes) return readElement(source.data() + i * elementBytes, from);
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
                 succeeded(report, ops.output({from.view, destination.data(), nhwc,
                                               integers != nhwc ? cuda::ImageOrder::kReverse
                                                                : cuda::ImageOrder::kForward},
                                              nullptr));
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
