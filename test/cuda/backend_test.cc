// The whole CUDA backend against the CPU's, on a simulated device: networks, borders, lanes,
// cancellation, memory, failures.
#include "cuda/backend.h"

#include <cstring>

#include "cpu/backend.h"
#include "cpu/thread_pool.h"
#include "test/cuda/networks.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"
#include "test/native/plan_text.h"

namespace {

using namespace resnet;
using namespace resnet::test;

std::string violations() {
  char text[4096] = "";
  resnetSimulatedViolations(text, sizeof text);
  return text;
}
std::string leaks() {
  char text[4096] = "";
  return resnetSimulatedLeaks(text, sizeof text) == 0 ? "" : text;
}

CompileOptions unmeasured(int maxBatch) {
  CompileOptions options;
  options.maxBatch = maxBatch;
  options.autotune = Autotune::kOff;
  return options;
}

std::shared_ptr<Backend> openBackend(cuda::BackendOptions options = {}) {
  auto backend = cuda::makeCudaBackend(options);
  CHECK_EQ(backend.ok() ? std::string() : backend.status().message, std::string());
  return backend.ok() ? backend.take() : nullptr;
}

// Runs on a backend; failures are reported and leave the outputs as they were.
Status run(Backend& backend, const Plan& plan, const std::shared_ptr<const Weights>& weights,
           const CompileOptions& options, Images& images) {
  auto program = backend.compile(plan, weights, options, Control{});
  if (!program.ok()) return program.takeStatus();
  auto lane = program.value()->createLane();
  if (!lane.ok()) return lane.takeStatus();
  return runOnce(*lane.value(), images.submission());
}

void mustRun(Backend& backend, const Plan& plan, const std::shared_ptr<const Weights>& weights,
             const CompileOptions& options, Images& images) {
  const Status status = run(backend, plan, weights, options, images);
  CHECK_EQ(status.ok() ? std::string() : status.step + ": " + status.message, std::string());
}

Images onCpu(const Network& net, int batch, int seed = 1) {
  Images images(net.plan, batch, seed);
  auto backend = cpu::makeCpuBackend(cpu::ThreadPool::acquire());
  CompileOptions options;
  options.maxBatch = batch;
  options.threads = 1;
  options.isa = "portable";
  options.precision = Float32Precision::kHighest;
  mustRun(*backend, net.plan, net.weights(), options, images);
  return images;
}

// ResNet-18 in one dtype against the CPU's float32, logits and features within `bound`.
void compareResnet18(DType dtype, double bound, bool graphs) {
  resnetSimulatedReset();
  const Images expected = onCpu(resnet18(40, DType::kFloat32), 3);
  {
    const Network net = resnet18(40, dtype);
    auto backend = openBackend();
    CompileOptions options = unmeasured(4);
    options.graphs = graphs;
    Images images(net.plan, 3);
    mustRun(*backend, net.plan, net.weights(), options, images);
    const double logits = difference(images.outputs[0], expected.outputs[0]);
    const double features = difference(images.outputs[3], expected.outputs[3]);
    std::printf("  resnet18 %s: logits %.2e, features %.2e of max\n", dtypeName(dtype), logits,
                features);
    CHECK(logits <= bound && features <= bound);
    // The best class, by its bits; equal where the reference's margin is beyond the bound.
    CHECK(difference(images.outputs[1], expected.outputs[1]) <= bound);
    int32_t got = -1, wanted = -1;
    std::memcpy(&got, images.outputs[2].data(), sizeof got);
    std::memcpy(&wanted, expected.outputs[2].data(), sizeof wanted);
    CHECK_EQ(got, wanted);
  }
  CHECK_EQ(violations(), std::string());
  CHECK_EQ(leaks(), std::string());
}

TEST("resnet18 float16, as a CUDA graph") { compareResnet18(DType::kFloat16, 2e-2, true); }

}  // namespace

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
