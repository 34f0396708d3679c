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

inline Read filled(Shape s, Content content, int seed) {
  return
      [=](int n, int y, int x, int c) { return contentAt(content, seed, placeOf(s, n, y, x, c)); };
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
  return op + " " + dtypeName(dtype) + " " + shapeName(s) + " " + placementName(pair.from) + "->" +
         placementName(pair.to);
}

inline void succeeded(Report& report, cudaError_t error) {
  if (error != cudaSuccess) report.add("the launch gave error " + std::to_string(int(error)));
}

inline std::shared_ptr<Guarded> floats(int count, int seed, double from, double to) {
  auto memory = std::make_shared<Guarded>(size_t(count) * 4);
  for (int i = 0; i < count; ++i) {
    memory->as<float>()[i] = formulaWithin(seed, i, from, to);
  }
  return memory;
}

}  // namespace resnet::test
