// The CUDA backend on the simulated device: whole networks equal the CPU's, in every dtype, with and without graphs, under
// late and random schedules. plugin_failure_test.cc has what happens when calls fail.
//
// Tolerances, relative to the reference's greatest value: float32 sums in another order, 4e-5; float16 rounds every value
// to 11 bits, 1e-2; bfloat16 to 8 bits, 8e-2.
#include "cpu/backend.h"
#include "cuda/backend.h"
#include "test/cuda/plugin_harness.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"

using namespace resnet;
using namespace resnet::test;

namespace {

double toleranceOf(DType dtype) {
  return dtype == DType::kFloat32 ? 4e-5 : dtype == DType::kFloat16 ? 1e-2 : 8e-2;
}

Outputs reference(const Network& network, const std::vector<uint8_t>& input, int images) {
  static const std::shared_ptr<Backend> cpu = cpu::makeCpuBackend(cpu::ThreadPool::acquire());
  CompileOptions options;
  options.maxBatch = images;
  options.precision = Float32Precision::kHighest;
  Outcome outcome = runNetwork(*cpu, network.reference(), network, input, images, options);
  CHECK_EQ(outcome.status.message, "");
  return std::move(outcome.outputs);
}

std::shared_ptr<Backend> newBackend(size_t memoryLimit = 0) {
  auto backend = cuda::makeCudaBackend({0, memoryLimit});
  CHECK_EQ(backend.ok() ? "" : backend.status().message, "");
  return backend.ok() ? backend.take() : nullptr;
}

std::string violationText() {
  char text[4000] = "";
  resnetSimulatedViolations(text, sizeof text);
  return text;
}
std::string leakText() {
  char text[4000] = "";
  resnetSimulatedLeaks(text, sizeof text);
  return text;
}

void checkClose(const std::string& name, const Outputs& got, const Outputs& expected,
                double tolerance) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const double far = difference(got[i], expected[i]);
    if (far <= tolerance) continue;
    fault(__FILE__, __LINE__,
          name + ": output " + std::to_string(i) + " is " + std::to_string(far) + " away, " +
              std::to_string(tolerance) + " allowed");
  }
}

// Compiles and runs on a fresh device, and leaves nothing behind.
void checkNetwork(const NetworkShape& shape, CompileOptions options, int images = 2, int runs = 2) {
  const Network network(shape);
  const std::vector<uint8_t> input = inputOf(network, shape.pixels, images);
  const Outputs expected = reference(network, input, images);
  options.maxBatch = images;
  {
    const std::shared_ptr<Backend> backend = newBackend();
    if (backend == nullptr) return;
    const Outcome outcome =
        runNetwork(*backend, network.plan, network, input, images, options, runs);
    CHECK_EQ(outcome.status.step + outcome.status.message, "");
    if (outcome.status.ok())
      checkClose(shape.name, outcome.outputs, expected, toleranceOf(shape.dtype));
  }
  CHECK_EQ(violationText(), "");
  CHECK_EQ(leakText(), "");
}

CompileOptions unmeasured() {
  CompileOptions options;
  options.autotune = Autotune::kOff;
  return options;
}

NetworkShape small(DType dtype = DType::kFloat16) {
  NetworkShape shape;
  shape.name = std::string("small ") + dtypeName(dtype);
  shape.bottleneck = true;
  shape.depths = {1, 1};
  shape.width = 8;
  shape.size = 16;
  shape.cifar = true;
  shape.dtype = dtype;
  return shape;
}

}  // namespace

TEST("plugin: resnet18 in float16 equals the CPU") {
  resnetSimulatedReset();
  checkNetwork({}, unmeasured());
}

TEST("plugin: every dtype, with and without graphs and measured choices") {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16})
    for (bool graphs : {false, true})
      for (Autotune autotune : {Autotune::kOff, Autotune::kQuick, Autotune::kFull}) {
        resnetSimulatedReset();
        CompileOptions options;
        options.graphs = graphs;
        options.autotune = autotune;
        checkNetwork(small(dtype), options);
      }
}

TEST(
    "plugin: a linear step is a convolution by preference, a matrix product where the race says "
    "so") {
  resnetSimulatedReset();
  for (DType dtype : {DType::kFloat32, DType::kFloat16}) {
    const Network network(small(dtype));
    const std::shared_ptr<Backend> backend = newBackend();
    for (Autotune autotune : {Autotune::kOff, Autotune::kQuick, Autotune::kFull}) {
      CompileOptions options;
      options.autotune = autotune;
      auto program = backend->compile(network.plan, makeFormulaWeights(3, network.tensors), options,
                                      Control());
      CHECK_EQ(program.ok() ? "" : program.status().message, "");
      if (!program.ok()) continue;
      for (const ExplainRow& row : program.value()->explain()) {
        if (row.kind != "linear") continue;
        const bool product = contains(row.implementation, "cudnn matmul eng");
        CHECK_EQ(product, autotune != Autotune::kOff);
        // Whichever lost is named with its time.
        bool beaten = false;
        for (const std::string& reason : row.refused)
          beaten = beaten || (reason.starts_with("eng") && contains(reason, " ms"));
        CHECK_EQ(beaten, autotune != Autotune::kOff);
      }
    }
  }
}

TEST("plugin: TF32 is less precise than float32, and only on demand") {
  resnetSimulatedReset();
  const Network network(small(DType::kFloat32));
  const std::vector<uint8_t> input = inputOf(network, false, 2);
  const Outputs expected = reference(network, input, 2);
  const std::shared_ptr<Backend> backend = newBackend();
  for (Float32Precision precision : {Float32Precision::kHigh, Float32Precision::kTf32}) {
    CompileOptions options;
    options.maxBatch = 2;
    options.precision = precision;
    const Outcome outcome = runNetwork(*backend, network.plan, network, input, 2, options);
    CHECK_EQ(outcome.status.message, "");
    if (!outcome.status.ok()) continue;
    const double far = difference(outcome.outputs[0], expected[0]);
    CHECK(precision == Float32Precision::kHigh ? far < 4e-5 : far > 4e-5 && far < 1e-2);
  }
}

TEST("plugin: pixels in, features and classes out") {
  NetworkShape shape = small();
  shape.name = "pixels, features, classes";
  shape.pixels = shape.features = shape.classify = true;
  shape.dtype = DType::kFloat32;  // so that the best classes are the same ones
  resnetSimulatedReset();
  checkNetwork(shape, unmeasured());
}

TEST("plugin: every architecture equals the CPU") {
  // Full depth; narrower where that keeps every kind of layer.
  struct Member {
    const char* name;
    std::vector<int> depths;
    bool bottleneck;
    int width, groups, widthPerGroup;
    bool cifar;
    int dilatedFrom;
  };
  const std::vector<Member> members = {
      {"resnet18", {2, 2, 2, 2}, false, 16, 1, 64, false, 99},
      {"resnet34", {3, 4, 6, 3}, false, 16, 1, 64, false, 99},
      {"resnet50", {3, 4, 6, 3}, true, 8, 1, 64, false, 99},
      {"resnet101", {3, 4, 23, 3}, true, 8, 1, 64, false, 99},
      {"resnet152", {3, 8, 36, 3}, true, 8, 1, 64, false, 99},
      {"resnext50_32x4d", {3, 4, 6, 3}, true, 16, 32, 4, false, 99},
      {"resnext101_32x8d", {3, 4, 23, 3}, true, 16, 32, 8, false, 99},
      {"resnext101_64x4d", {3, 4, 23, 3}, true, 16, 64, 4, false, 99},
      {"wide_resnet50_2", {3, 4, 6, 3}, true, 8, 1, 128, false, 99},
      {"wide_resnet101_2", {3, 4, 23, 3}, true, 8, 1, 128, false, 99},
      {"resnet50, output stride 8", {3, 4, 6, 3}, true, 8, 1, 64, false, 2},
      {"resnet20", {3, 3, 3}, false, 16, 1, 64, true, 99},
      {"resnet32", {5, 5, 5}, false, 16, 1, 64, true, 99},
      {"resnet44", {7, 7, 7}, false, 16, 1, 64, true, 99},
      {"resnet56", {9, 9, 9}, false, 16, 1, 64, true, 99},
      {"resnet110", {18, 18, 18}, false, 16, 1, 64, true, 99},
  };
  for (const Member& member : members) {
    resnetSimulatedReset();
    NetworkShape shape;
    shape.name = member.name;
    shape.depths = member.depths;
    shape.bottleneck = member.bottleneck;
    shape.width = member.width;
    shape.groups = member.groups;
    shape.widthPerGroup = member.widthPerGroup;
    shape.cifar = member.cifar;
    shape.size = member.cifar ? 32 : 64;
    shape.dilatedFrom = member.dilatedFrom;
    checkNetwork(shape, unmeasured(), 1, 1);
  }
}

TEST(
    "plugin: a batch smaller than the program's, and one of several callers, keep their images "
    "apart") {
  resnetSimulatedReset();
  const Network network(small());
  const std::vector<uint8_t> input = inputOf(network, false, 5);
  const Outputs expected = reference(network, input, 5);
  const std::shared_ptr<Backend> backend = newBackend();
  CompileOptions options = unmeasured();
  options.maxBatch = 8;
  const Outcome outcome = runNetwork(*backend, network.plan, network, input, 5, options);
  CHECK_EQ(outcome.status.message, "");
  if (outcome.status.ok()) checkClose("5 of 8", outcome.outputs, expected, 1e-2);

  auto program =
      backend->compile(network.plan, makeFormulaWeights(3, network.tensors), options, Control());
  CHECK(program.ok());
  auto lane = program.value()->createLane();
  CHECK(lane.ok());
  // Two images from the host, two that are on the device already, one from the host.
  auto buffer = backend->allocate(2 * network.inputBytes());
  CHECK(buffer.ok());
  CHECK(backend
            ->upload(*buffer.value(), input.data() + 2 * network.inputBytes(),
                     2 * network.inputBytes())
            .ok());
  const size_t classes = network.outputElements[0];
  auto onDevice = backend->allocate(3 * classes * 4);
  CHECK(onDevice.ok());
  std::vector<float> first(2 * classes, NAN), rest(3 * classes, NAN);
  Submission submission{5,
                        {{{input.data(), 2, false},
                          {buffer.value()->data(), 2, true},
                          {input.data() + 4 * network.inputBytes(), 1, false}}},
                        {{{first.data(), 2, false}, {onDevice.value()->data(), 3, true}}}};
  std::mutex mutex;
  std::condition_variable arrived;
  bool settled = false;
  Status status;
  lane.value()->submit(std::move(submission), nullptr, [&](Status result) {
    std::lock_guard lock(mutex);
    status = std::move(result);
    settled = true;
    arrived.notify_all();
  });
  std::unique_lock lock(mutex);
  arrived.wait(lock, [&] { return settled; });
  CHECK_EQ(status.message, "");
  CHECK(backend->download(rest.data(), *onDevice.value(), rest.size() * 4).ok());
  first.insert(first.end(), rest.begin(), rest.end());
  checkClose("five images of pieces", {first}, expected, 1e-2);
  CHECK_EQ(violationText(), "");
}

TEST("plugin: lanes side by side under random schedules give the same results") {
  for (uint64_t seed = 0; seed < 12; ++seed) {
    resnetSimulatedReset();
    resnetSimulatedSetSchedule(seed);
    const Network network(small());
    {
      const std::shared_ptr<Backend> backend = newBackend();
      CompileOptions options = unmeasured();
      options.maxBatch = 2;
      options.graphs = seed % 2 == 0;
      auto program = backend->compile(network.plan, makeFormulaWeights(3, network.tensors), options,
                                      Control());
      CHECK_EQ(program.ok() ? "" : program.status().message, "");
      if (!program.ok()) return;
      std::unique_ptr<Lane> lanes[2];
      for (auto& lane : lanes) {
        auto made = program.value()->createLane();
        CHECK(made.ok());
        lane = made.take();
      }
      const size_t pageable = resnetSimulatedPageableCopies();  // of weights, while compiling
      constexpr int kFlights = 8;
      std::vector<uint8_t> inputs[kFlights];
      Flight flights[kFlights];
      for (int i = 0; i < kFlights; ++i) {
        inputs[i] = inputOf(network, false, 2, i);
        flights[i].launch(*lanes[i % 2], network, inputs[i], 2);
      }
      for (int i = 0; i < kFlights; ++i) {
        CHECK_EQ(flights[i].wait().message, "");
        checkClose("flight " + std::to_string(i) + ", seed " + std::to_string(seed),
                   flights[i].outputs, reference(network, inputs[i], 2), 1e-2);
      }
      CHECK_EQ(resnetSimulatedPageableCopies(), pageable);
    }
    CHECK_EQ(violationText(), "");
    CHECK_EQ(leakText(), "");
  }
}

TEST("plugin: a cancelled run ends as aborted, and the lane works on") {
  resnetSimulatedReset();
  const Network network(small());
  const std::vector<uint8_t> input = inputOf(network, false, 1);
  {
    const std::shared_ptr<Backend> backend = newBackend();
    auto program = backend->compile(network.plan, makeFormulaWeights(3, network.tensors),
                                    unmeasured(), Control());
    CHECK(program.ok());
    auto lane = program.value()->createLane();
    CHECK(lane.ok());
    const auto control = std::make_shared<Control>();
    control->cancelled = true;
    Flight cancelled, after;
    cancelled.launch(*lane.value(), network, input, 1, control);
    after.launch(*lane.value(), network, input, 1);
    CHECK(cancelled.wait().code == Code::kAborted);
    CHECK_EQ(after.wait().message, "");
    checkClose("after a cancelled run", after.outputs, reference(network, input, 1), 1e-2);
  }
  CHECK_EQ(leakText(), "");
}

TEST("plugin: too little memory is an error that leaves the backend usable") {
  resnetSimulatedReset();
  const Network network(small());
  const std::vector<uint8_t> input = inputOf(network, false, 1);
  {
    const std::shared_ptr<Backend> backend = newBackend(4 << 20);
    CompileOptions options = unmeasured();
    options.maxBatch = 256;
    const Outcome large = runNetwork(*backend, network.plan, network, input, 1, options);
    CHECK(large.status.code == Code::kOutOfMemory);
    options.maxBatch = 1;
    const Outcome fits = runNetwork(*backend, network.plan, network, input, 1, options);
    CHECK_EQ(fits.status.message, "");
    if (fits.status.ok())
      checkClose("after out of memory", fits.outputs, reference(network, input, 1), 1e-2);
    CHECK(resnetSimulatedPeakMemory(0) <= size_t{4} << 20);
  }
  CHECK_EQ(leakText(), "");
}

TEST("plugin: a lost device takes its own programs with it, another device works") {
  resnetSimulatedReset();
  resnetSimulatedSetDeviceCount(2);
  const Network network(small());
  const std::vector<uint8_t> input = inputOf(network, false, 1);
  {
    const std::shared_ptr<Backend> backend = newBackend();
    auto program = backend->compile(network.plan, makeFormulaWeights(3, network.tensors),
                                    unmeasured(), Control());
    CHECK(program.ok());
    auto lane = program.value()->createLane();
    CHECK(lane.ok());
    resnetSimulatedFailWorkAt(3, cudaErrorIllegalAddress);
    Flight lost, later;
    lost.launch(*lane.value(), network, input, 1);
    const Status status = lost.wait();
    CHECK_EQ(codeName(status.code), std::string(codeName(Code::kDeviceLost)));
    later.launch(*lane.value(), network, input, 1);
    CHECK(later.wait().code == Code::kDeviceLost);
    auto other = cuda::makeCudaBackend({1, 0});
    CHECK_EQ(other.ok() ? "" : other.status().message, "");
    if (other.ok()) {
      const Outcome outcome =
          runNetwork(*other.value(), network.plan, network, input, 1, unmeasured());
      CHECK_EQ(outcome.status.message, "");
      if (outcome.status.ok())
        checkClose("on the other device", outcome.outputs, reference(network, input, 1), 1e-2);
    }
  }
  CHECK_EQ(leakText(), "");
}

TEST("plugin: the reasons why no device can be used") {
  const auto reason = [](auto prepare) {
    resnetSimulatedReset();
    prepare();
    auto backend = cuda::makeCudaBackend({});
    CHECK(!backend.ok());
    if (!backend.ok())
      CHECK_EQ(codeName(backend.status().code), std::string(codeName(Code::kUnavailable)));
    return backend.ok() ? "" : backend.status().message;
  };
  CHECK_HAS(reason([] { resnetSimulatedSetDriverVersion(0); }), "driver");
  CHECK_HAS(reason([] { resnetSimulatedSetDriverVersion(12040); }), "12.4");
  CHECK_HAS(reason([] { resnetSimulatedSetDeviceCount(0); }), "device");
  resnetSimulatedReset();
  auto backend = cuda::makeCudaBackend({7, 0});
  CHECK(!backend.ok());
  resnetSimulatedReset();
}

int main(int argc, char** argv) { return runCases(argc, argv); }
