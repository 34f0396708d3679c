// The whole CUDA backend against the CPU's, on a simulated device: networks, borders, lanes,
// cancellation, memory, failures.
#include "cuda/backend.h"

#include <cstring>

#include "cpu/backend.h"
#include "cpu/thread_pool.h"
#include "test/cuda/backend_harness.h"
#include "test/cuda/reports.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"
#include "test/native/plan_text.h"

namespace {

using namespace resnet;
using namespace resnet::test;

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

TEST("resnet18 bfloat16") { compareResnet18(DType::kBFloat16, 8e-2, true); }
TEST("resnet18 float32") { compareResnet18(DType::kFloat32, 2e-5, true); }
TEST("resnet18 float16, kernel by kernel") { compareResnet18(DType::kFloat16, 2e-2, false); }

// Every kind of step, a grouped convolution, uint8 pixels; then the same with groups that need padding.
TEST("every kind of step equals the CPU's") {
  for (const char* dtype : {"float32", "float16", "bfloat16"}) {
    for (const bool padded : {false, true}) {
      resnetSimulatedReset();
      std::string text = kPlan;
      const auto replaceAll = [&text](const std::string& from, const std::string& to) {
        for (size_t at = text.find(from); at != std::string::npos;
             at = text.find(from, at + to.size()))
          text.replace(at, from.size(), to);
      };
      if (padded) {  // 12 channels in 4 groups of 3
        replaceAll(",8]", ",12]");
        replaceAll("\"k\":8", "\"k\":12");
        replaceAll("\"shape\":[8", "\"shape\":[12");
        replaceAll("[12,2,3,1]", "[12,3,3,1]");
      }
      auto reference = parsePlan(text);
      CHECK_EQ(reference.ok() ? std::string() : reference.status().message, std::string());
      for (const char* name : {"pixels", "stem", "maxed", "grouped", "normed", "summed", "active",
                               "averaged", "pooled"}) {
        const size_t at = text.find("float32", text.find(std::string("\"name\":\"") + name + "\""));
        text.replace(at, 7, dtype);
      }
      auto plan = parsePlan(text);
      CHECK_EQ(plan.ok() ? std::string() : plan.status().message, std::string());
      if (!plan.ok() || !reference.ok()) continue;
      std::vector<FormulaTensor> tensors;
      for (const ParameterInfo& parameter : plan.value().parameters) {
        const bool variance = parameter.name.find(".var") != std::string::npos;
        tensors.push_back(
            {parameter.name, parameter.shape, variance ? 0.5f : -0.5f, variance ? 1.5f : 0.5f});
      }
      Images expected(reference.value(), 2), images(plan.value(), 2);
      {
        const auto weights = makeFormulaWeights(3, tensors);
        auto cpu = cpu::makeCpuBackend(cpu::ThreadPool::acquire());
        CompileOptions options;
        options.maxBatch = 2;
        options.threads = 1;
        mustRun(*cpu, reference.value(), weights, options, expected);
        auto backend = openBackend();
        mustRun(*backend, plan.value(), weights, unmeasured(2), images);
      }
      const double off = difference(images.outputs[0], expected.outputs[0]);
      const double bound = dtype == std::string("float32")   ? 2e-5
                           : dtype == std::string("float16") ? 1e-2
                                                             : 8e-2;
      if (!(off <= bound)) std::printf("  %s, padded %d: %.2e of max\n", dtype, padded, off);
      CHECK(off <= bound);
      if (dtype == std::string("float32"))
        CHECK(std::memcmp(images.outputs[1].data(), expected.outputs[1].data(),
                          expected.outputs[1].size() * sizeof(float)) == 0);
      CHECK_EQ(violations(), std::string());
      CHECK_EQ(leaks(), std::string());
    }
  }
}

// --- borders

TEST("a batch below the bucket, in pieces, in any order of streams") {
  for (uint64_t schedule : {0, 1, 2, 3}) {
    resnetSimulatedReset();
    const Network net = smallNetwork(16, DType::kFloat16);
    {
      auto backend = openBackend();
      auto program = backend->compile(net.plan, net.weights(), unmeasured(8), Control{});
      CHECK(program.ok());
      auto lane = program.value()->createLane();
      CHECK(lane.ok());
      resnetSimulatedSetSchedule(schedule);
      Images whole(net.plan, 8);
      CHECK(runOnce(*lane.value(), whole.submission()).ok());
      for (int batch : {1, 3, 8}) {
        for (int piece : {1, 2, 8}) {
          Images images(net.plan, batch);
          CHECK(runOnce(*lane.value(), images.submission(piece)).ok());
          // Images are independent of each other and of the bucket's unused places.
          CHECK(std::memcmp(images.outputs[0].data(), whole.outputs[0].data(),
                            images.outputs[0].size() * sizeof(float)) == 0);
        }
      }
    }
    CHECK_EQ(violations(), std::string());
    CHECK_EQ(leaks(), std::string());
  }
}

TEST("pieces on the device are used where they lie, between pieces of the host") {
  resnetSimulatedReset();
  const Network net = smallNetwork(16, DType::kFloat16);
  {
    auto backend = openBackend();
    auto program = backend->compile(net.plan, net.weights(), unmeasured(4), Control{});
    CHECK(program.ok());
    auto lane = program.value()->createLane();
    Images expected(net.plan, 4), images(net.plan, 4);
    CHECK(runOnce(*lane.value(), expected.submission()).ok());
    const size_t outputBytes = images.outputs[0].size() * sizeof(float) / 4;
    auto input = backend->allocate(2 * images.imageBytes), output = backend->allocate(outputBytes);
    CHECK(input.ok() && output.ok());
    CHECK_EQ(backend->memory().tensors, 2 * images.imageBytes + outputBytes);
    CHECK(
        backend
            ->upload(*input.value(), images.input.data() + images.imageBytes, 2 * images.imageBytes)
            .ok());
    Submission submission = images.submission(1);
    submission.inputs[0] = {{images.input.data(), 1},
                            {input.value()->data(), 2, true},
                            {images.input.data() + 3 * images.imageBytes, 1}};
    submission.outputs[0][2] = {output.value()->data(), 1, true};
    CHECK(runOnce(*lane.value(), std::move(submission)).ok());
    CHECK(backend
              ->download(images.outputs[0].data() + 2 * outputBytes / sizeof(float),
                         *output.value(), outputBytes)
              .ok());
    CHECK(std::memcmp(images.outputs[0].data(), expected.outputs[0].data(), 4 * outputBytes) == 0);
    const Status tooMuch = backend->upload(*output.value(), images.input.data(), outputBytes + 1);
    CHECK(tooMuch.code == Code::kInvalidArgument);
  }
  CHECK_EQ(violations(), std::string());
  CHECK_EQ(leaks(), std::string());
}

TEST("two programs of one model share its weights; all memory is given back") {
  resnetSimulatedReset();
  const Network net = smallNetwork(16, DType::kFloat16);
  {
    auto backend = openBackend();
    {
      const auto weights = net.weights();
      auto one = backend->compile(net.plan, weights, unmeasured(1), Control{});
      const size_t bytes = backend->memory().weights;
      auto two = backend->compile(net.plan, weights, unmeasured(2), Control{});
      CHECK(one.ok() && two.ok() && bytes > 0);
      CHECK_EQ(backend->memory().weights, bytes);
      CHECK_EQ(one.value()->weightBytes(), bytes);
      auto lane = two.value()->createLane();
      CHECK(lane.ok());
      CHECK_EQ(backend->memory().arenas, two.value()->arenaBytes());
    }
    const MemoryUse use = backend->memory();
    CHECK_EQ(use.weights + use.arenas + use.tensors + use.staging, size_t{0});
    CHECK_EQ(resnetSimulatedMemoryUsed(0), size_t{0});
  }
  CHECK_EQ(leaks(), std::string());
}

// --- lanes

TEST("lanes run at once, each in its own order") {
  for (const bool graphs : {true, false}) {
    resnetSimulatedReset();
    const Network net = smallNetwork(16, DType::kFloat16);
    {
      auto backend = openBackend();
      CompileOptions options = unmeasured(2);
      options.graphs = graphs;
      auto program = backend->compile(net.plan, net.weights(), options, Control{});
      CHECK(program.ok());
      constexpr int kLanes = 3, kRuns = 8;
      std::vector<Images> expected;
      std::vector<std::unique_ptr<Lane>> lanes;
      for (int i = 0; i < kLanes; ++i) {
        auto lane = program.value()->createLane();
        CHECK(lane.ok());
        lanes.push_back(lane.take());
      }
      for (int run = 0; run < kRuns; ++run) {
        expected.emplace_back(net.plan, 2, run);
        CHECK(runOnce(*lanes[0], expected.back().submission()).ok());
      }
      std::vector<Images> images;
      std::vector<Answer> answers(kLanes * kRuns);
      std::mutex mutex;
      std::vector<std::vector<int>> finished(kLanes);
      for (int i = 0; i < kLanes * kRuns; ++i) images.emplace_back(net.plan, 2, i / kLanes);
      for (int i = 0; i < kLanes * kRuns; ++i) {
        lanes[size_t(i % kLanes)]->submit(images[size_t(i)].submission(1), nullptr,
                                          [&, i, done = answers[size_t(i)].done()](Status status) {
                                            {
                                              std::lock_guard lock(mutex);
                                              finished[size_t(i % kLanes)].push_back(i / kLanes);
                                            }
                                            done(std::move(status));
                                          });
      }
      for (int i = 0; i < kLanes * kRuns; ++i) {
        CHECK(answers[size_t(i)].wait().ok());
        CHECK(images[size_t(i)].outputs[0] == expected[size_t(i / kLanes)].outputs[0]);
      }
      for (const auto& order : finished)
        for (int run = 0; run < kRuns; ++run) CHECK_EQ(order[size_t(run)], run);
      lanes.clear();
      for (Answer& answer : answers) CHECK_EQ(answer.calls(), 1);
    }
    CHECK_EQ(violations(), std::string());
    CHECK_EQ(leaks(), std::string());
  }
}

TEST("a lane that goes away finishes what was submitted") {
  resnetSimulatedReset();
  const Network net = smallNetwork(16, DType::kFloat16);
  {
    auto backend = openBackend();
    auto program = backend->compile(net.plan, net.weights(), unmeasured(2), Control{});
    auto lane = program.value()->createLane();
    std::vector<Images> images;
    std::vector<Answer> answers(20);
    for (int i = 0; i < 20; ++i) images.emplace_back(net.plan, 2, i);
    for (int i = 0; i < 20; ++i)
      lane.value()->submit(images[size_t(i)].submission(), nullptr, answers[size_t(i)].done());
    lane.value().reset();
    for (Answer& answer : answers) {
      CHECK_EQ(answer.calls(), 1);
      CHECK(answer.wait().ok());
    }
  }
  CHECK_EQ(leaks(), std::string());
}

TEST("a cancelled run ends in aborted, and the next one is right") {
  for (const bool graphs : {true, false}) {
    resnetSimulatedReset();
    const Network net = smallNetwork(16, DType::kFloat16);
    {
      auto backend = openBackend();
      CompileOptions options = unmeasured(2);
      options.graphs = graphs;
      auto program = backend->compile(net.plan, net.weights(), options, Control{});
      auto lane = program.value()->createLane();
      Images expected(net.plan, 2), images(net.plan, 2);
      CHECK(runOnce(*lane.value(), expected.submission()).ok());
      auto control = std::make_shared<Control>();
      control->cancelled = true;
      CHECK(runOnce(*lane.value(), images.submission(), control).code == Code::kAborted);
      CHECK(std::isnan(images.outputs[0][0]));
      // Cancelled while it waits behind others.
      control = std::make_shared<Control>();
      std::vector<Images> others(4, Images(net.plan, 2));
      std::vector<Answer> answers(4);
      for (int i = 0; i < 4; ++i)
        lane.value()->submit(others[size_t(i)].submission(), i == 3 ? control : nullptr,
                             answers[size_t(i)].done());
      control->cancelled = true;
      for (int i = 0; i < 3; ++i) CHECK(answers[size_t(i)].wait().ok());
      const Status last = answers[3].wait();
      CHECK(last.ok() || last.code == Code::kAborted);
      CHECK(runOnce(*lane.value(), images.submission()).ok());
      CHECK(images.outputs[0] == expected.outputs[0]);
      Control stopped;
      stopped.cancelled = true;
      const auto refused = backend->compile(net.plan, net.weights(), options, stopped);
      CHECK(refused.status().code == Code::kAborted);
    }
    CHECK_EQ(violations(), std::string());
    CHECK_EQ(leaks(), std::string());
  }
}

TEST("explain names each step's engine or kernel, and what the plan costs") {
  resnetSimulatedReset();
  const Network net = smallNetwork(16, DType::kFloat16);
  auto backend = openBackend();
  auto program = backend->compile(net.plan, net.weights(), unmeasured(2), Control{});
  CHECK(program.ok());
  const auto rows = program.value()->explain();
  CHECK_EQ(rows.size(), net.plan.steps.size() + 1);  // and the batch as a whole
  CHECK_EQ(rows[1].step, std::string("conv1"));
  CHECK_HAS(rows[1].implementation, "cudnn ");
  CHECK_HAS(rows[1].implementation, "unmeasured");
  CHECK_EQ(rows[1].milliseconds, 0.0);
  CHECK(rows[1].flop > 0 && rows[1].bytes > 0);
  CHECK_EQ(rows[0].implementation, std::string("kernel input"));
  CHECK_EQ(rows.back().kind, std::string("schedule"));
  CHECK_HAS(rows.back().implementation, "one track, images forward, one CUDA graph");
  double sum = 0;
  for (const auto& row : rows) {
    CHECK(row.ceilingMilliseconds > 0);
    if (row.kind != "schedule" && row.kind != "input" && row.kind != "output")
      sum += row.ceilingMilliseconds;
  }
  CHECK(std::abs(rows.back().ceilingMilliseconds - sum) < 1e-9);
  // Of what the simulated card states: 2619 MHz x 2 x 5120 bits, and 132 SMs x 1980 MHz x 4096.
  const double bytes = 16.0 * 16 * 3 * 2 * 2, pixels = 8.0 * 8 * 12;
  const double weights = 2.0 * 12 * (27 + 2), flop = 2.0 * 2 * pixels * 27;
  const double least = std::max((bytes + 2 * 2 * pixels + weights) / 3.35232e12, flop / 1.0705e15);
  CHECK(std::abs(rows[1].ceilingMilliseconds - 1e3 * least) < 1e-3 * rows[1].ceilingMilliseconds);
  CHECK_HAS(std::string(program.value()->isa()), "sm_");
}

TEST("engines are raced when nothing forbids it") {
  resnetSimulatedReset();
  const Network net = smallNetwork(8, DType::kFloat16);
  {
    auto backend = openBackend();
    CompileOptions options = unmeasured(1);
    options.autotune = Autotune::kQuick;
    Images images(net.plan, 1), expected(net.plan, 1);
    auto program = backend->compile(net.plan, net.weights(), options, Control{});
    CHECK_EQ(program.ok() ? std::string() : program.status().message, std::string());
    if (program.ok()) {
      const auto rows = program.value()->explain();
      CHECK_HAS(rows[1].implementation, "in the race");
      bool beaten = false, refused = false;
      for (const std::string& reason : rows[1].refused) {
        beaten = beaten || contains(reason, " ms");
        refused = refused || contains(reason, "not support");
      }
      CHECK(beaten && refused);
      for (const auto& row : rows)
        CHECK_EQ(row.milliseconds > 0,
                 row.kind != "input" && row.kind != "output" && row.kind != "schedule");
    }
    mustRun(*backend, net.plan, net.weights(), options, images);
    options.deterministic = true;
    mustRun(*backend, net.plan, net.weights(), options, expected);
    CHECK(difference(images.outputs[0], expected.outputs[0]) <= 1e-2);
  }
  CHECK_EQ(violations(), std::string());
  CHECK_EQ(leaks(), std::string());
}

}  // namespace

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
