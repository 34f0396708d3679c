// One op case of the kernels: it runs a launch function on formula inputs and holds the result against
// a plain reference in float64.
#pragma once

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

inline std::shared_ptr<Guarded> floats(int count, int seed, double from, double to) {
  auto memory = std::make_shared<Guarded>(size_t(count) * 4);
  for (int i = 0; i < count; ++i) {
    memory->as<float>()[i] = float(from + (to - from) * (formula(seed, i) + 2) / 4);
  }
  return memory;
}

inline double clipped(double x, bool relu) { return relu && x < 0 ? 0 : x; }

}  // namespace resnet::test
