// Scalar multiplies and adds as the compiler makes them. Bound: compute.
#include "cpu/limits/limits.h"

namespace resnet::cpu {
namespace {

constexpr int kChains = 8;  // independent sums: latency times throughput of any core so far

void multiplyAdd(int64_t turns) {
  volatile float seed = 1.0f;
  const float x = seed;
  float sums[kChains] = {};
  for (int64_t turn = 0; turn < turns; ++turn) {
    for (float& sum : sums) sum = sum * 0.5f + x;
  }
  volatile float sink = 0;
  for (const float sum : sums) sink = sink + sum;
}

}  // namespace

void appendPortableLoops(std::vector<LimitLoop>& loops) {
  loops.push_back(
      {"float32 multiply, add, plain C++", "GFLOP/s float32", 2.0 * kChains, multiplyAdd});
}

}  // namespace resnet::cpu
