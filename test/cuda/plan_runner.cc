// Runs plans of lib/graph, one *.json each, through the CUDA backend on the simulated device and compares with the CPU:
//   plan_runner DTYPE FILE...
// Prints a line for every plan; exits with the number of those that differ by more than the tolerance of plugin_test.cc.
#include <cstdio>

#include "cpu/backend.h"
#include "cuda/backend.h"
#include "test/cuda/plan_files.h"
#include "test/cuda/simulated/control.h"

using namespace resnet;
using namespace resnet::test;

namespace {

int fail(const std::string& path, const std::string& why) {
  std::printf("%s: %s\n", path.c_str(), why.c_str());
  return 1;
}

// What runNetwork() reads of a network.
Network describe(const Plan& plan) {
  Network network{NetworkShape{}};
  network.tensors = formulasFor(plan);
  network.outputElements.clear();
  for (const Step& step : plan.steps) {
    const auto* output = std::get_if<OutputStep>(&step.body);
    if (output == nullptr) continue;
    const ValueInfo& value = plan.values[size_t(output->input)];
    network.outputElements.push_back(size_t(value.h) * size_t(value.w) * size_t(value.c));
  }
  return network;
}

int run(const std::string& path, DType dtype, Backend& cpu) {
  auto plan = readPlan(path);
  if (!plan.ok()) return fail(path, plan.status().message);
  const Network network = describe(plan.value());
  const ValueInfo& image = plan.value().values[size_t(stepOutputs(plan.value().steps[0])[0])];
  std::vector<uint8_t> input(size_t(image.h) * size_t(image.w) * size_t(image.c) * 4);
  for (size_t i = 0; i < input.size(); i += 4) {
    const float value = float((i * 2654435761u >> 8) % 2000) / 1000 - 1;
    std::memcpy(&input[i], &value, 4);
  }
  const Outcome expected = runNetwork(cpu, plan.value(), network, input, 1, {});
  if (!expected.status.ok()) return fail(path, "the CPU: " + expected.status.message);
  resnetSimulatedReset();
  CompileOptions options;
  options.autotune = Autotune::kOff;
  Outcome got;
  {
    auto backend = cuda::makeCudaBackend({});
    if (!backend.ok()) return fail(path, backend.status().message);
    got = runNetwork(*backend.value(), withDType(plan.value(), dtype), network, input, 1, options);
  }
  if (!got.status.ok()) return fail(path, got.status.step + ": " + got.status.message);
  const double tolerance = dtype == DType::kFloat32 ? 4e-5 : dtype == DType::kFloat16 ? 1e-2 : 8e-2;
  double worst = 0;
  for (size_t i = 0; i < expected.outputs.size(); ++i)
    worst = std::max(worst, difference(got.outputs[i], expected.outputs[i]));
  char violations[2000] = "", leaks[2000] = "";
  if (resnetSimulatedViolations(violations, sizeof violations) > 0) return fail(path, violations);
  if (resnetSimulatedLeaks(leaks, sizeof leaks) > 0)
    return fail(path, std::string("leaks ") + leaks);
  std::printf("%s: %.2e of %.0e\n", path.c_str(), worst, tolerance);
  return worst <= tolerance ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const auto dtype = parseDType(argc > 2 ? argv[1] : "");
  if (!dtype) {
    std::fprintf(stderr, "plan_runner DTYPE FILE...\n");
    return 255;
  }
  const auto cpu = cpu::makeCpuBackend(cpu::ThreadPool::acquire());
  int failed = 0;
  for (int i = 2; i < argc; ++i) failed += run(argv[i], *dtype, *cpu);
  return failed;
}
