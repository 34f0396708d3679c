// The kernels, emulated thread for thread, over the table of op cases, each under several random
// orders of threads and blocks. Filters are parts of a case's name.
#include "cuda/kernels/launch.h"
#include "op_table.h"
#include "test/native/check.h"

using namespace resnet;
using namespace resnet::test;

namespace {

constexpr int kOrders = 3;
constexpr Ops kOps{&cuda::input,
                   &cuda::output,
                   &cuda::maxPool,
                   &cuda::avgPool,
                   &cuda::globalAvgPool,
                   &cuda::affine,
                   &cuda::add,
                   &cuda::relu,
                   &cuda::softmax,
                   &cuda::topK,
                   &cuda::packWeights,
                   &cuda::resize,
                   &cuda::resizeScratchFloats};

void runCase(const OpCase& test) {
  for (int order = 1; order <= kOrders; ++order) {
    cuda::simt::settings().seed = order;
    Report report;
    test.run(kOps, report);
    if (report.fault.empty()) continue;
    return fault(__FILE__, __LINE__, "order " + std::to_string(order) + ": " + report.fault);
  }
}

}  // namespace

TEST("refused: what the kernels cannot do") {
  const Placement padded = Placement::kPadded;
  Value a({2, 3, 4, 5}, DType::kFloat16, padded), b({2, 3, 4, 5}, DType::kFloat32, padded);
  CHECK_EQ(cuda::relu(a.view, b.view, nullptr), cudaErrorInvalidValue);
  Value integers({2, 1, 1, 5}, DType::kInt32, padded), row({2, 1, 1, 5}, DType::kFloat16, padded);
  CHECK_EQ(cuda::relu(integers.view, integers.view, nullptr), cudaErrorInvalidValue);
  CHECK_EQ(cuda::topK(row.view, row.view, integers.view, 0, nullptr), cudaErrorInvalidValue);
  CHECK_EQ(cuda::topK(row.view, row.view, integers.view, 6, nullptr), cudaErrorInvalidValue);
  CHECK_EQ(cuda::topK(row.view, row.view, row.view, 1, nullptr), cudaErrorInvalidValue);
  View none = a.view;
  none.n = 0;
  CHECK_EQ(cuda::relu(none, none, nullptr), cudaSuccess);
  cuda::InputArguments input;
  input.sourceType = DType::kInt32;
  input.to = a.view;
  CHECK_EQ(cuda::input(input, nullptr), cudaErrorInvalidValue);

  // A picture is taken, and refused with one thing wrong at a time.
  Value to({1, 3, 4, 5}, DType::kFloat16, padded);
  const PictureAxis axis{4, 4, 0, 4, 4, 0, 4, 0}, rows{3, 3, 0, 3, 3, 0, 3, 0};
  Guarded pixels(3 * 4 * 5), scratch(4096);
  std::memset(pixels.data(), 7, 3 * 4 * 5);
  cuda::ResizeArguments good;
  good.source = pixels.as<uint8_t>();
  good.picture = {axis, rows, 5, 20};
  good.to = to.view;
  good.scratch = scratch.as<float>();
  CHECK_EQ(cuda::resize(good, nullptr), cudaSuccess);
  const auto refused = [&](auto change) {
    cuda::ResizeArguments bad = good;
    change(bad);
    CHECK_EQ(cuda::resize(bad, nullptr), cudaErrorInvalidValue);
  };
  refused([](auto& bad) { bad.picture.channels = 3; });
  refused([](auto& bad) { bad.picture.x.to = 1; });
  refused([](auto& bad) { bad.picture.y.to = -1; });
  refused([](auto& bad) { bad.picture.x.length = 0; });
  refused([](auto& bad) { bad.picture.y.from = 1; });
  refused([](auto& bad) { bad.picture.x.held = 5; });
  refused([](auto& bad) { bad.picture.x.first = 1; });
  refused([](auto& bad) { bad.picture.y.extent = 0; });
  refused([](auto& bad) { bad.picture.y.resized = 0; });
  refused([](auto& bad) { bad.scratch = nullptr; });
  refused([](auto& bad) { bad.to.n = 2; });
}

int main(int argc, char** argv) {
  for (OpCase& test : opCases()) {
    const std::string name = test.name;
    Registry::get().cases.push_back({name, [test = std::move(test)] { runCase(test); }});
  }
  return runCases(argc, argv);
}
