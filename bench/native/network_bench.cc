// Time of whole networks (ResNet-18, -34, -50, 224x224, parameters by formula) on the CPU backend,
// with one line per step on request. Interleave it with peers for a comparison; take --rounds high
// on a noisy machine.
//
//   network_bench [--depth 18|34|50] [--batch N] [--threads N] [--isa NAME] [--rounds N]
//                 [--precision high|highest] [--steps]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>

#include "cpu/backend.h"

using namespace resnet;

namespace {

// The plan of a torchvision ResNet and the parameters that it names.
class NetworkBuilder {
 public:
  explicit NetworkBuilder(int depth) {
    const bool bottleneck = depth >= 50;
    const int blocks[4] = {depth == 18 ? 2 : 3, depth == 18 ? 2 : 4, depth == 18 ? 2 : 6,
                           depth == 18 ? 2 : 3};
    ValueId x = value("input", 224, 224, 3);
    plan.steps.push_back(
        {StepKind::kInput, "input", InputStep{x, 0, DType::kFloat32, MemoryLayout::kNchw, {}, {}}});
    x = conv("conv1", x, 64, 7, 2, kNoValue, true);
    const ValueId pooled = value("pool", 56, 56, 64);
    plan.steps.push_back(
        {StepKind::kMaxPool, "maxpool", PoolStep{x, pooled, {3, 3}, {2, 2}, {1, 1}, {1, 1}}});
    x = pooled;
    for (int stage = 0; stage < 4; ++stage) {
      for (int b = 0; b < blocks[stage]; ++b) {
        const std::string name = "layer" + std::to_string(stage + 1) + "." + std::to_string(b);
        const int width = 64 << stage, out = bottleneck ? 4 * width : width;
        const int stride = stage > 0 && b == 0 ? 2 : 1;
        const bool downsample = stride != 1 || plan.values[x].c != out;
        ValueId y = bottleneck ? conv(name + ".conv1", x, width, 1, 1, kNoValue, true) : x;
        y = conv(name + (bottleneck ? ".conv2" : ".conv1"), y, width, 3, stride, kNoValue, true);
        const ValueId shortcut =
            downsample ? conv(name + ".downsample", x, out, 1, stride, kNoValue, false) : x;
        x = bottleneck ? conv(name + ".conv3", y, out, 1, 1, shortcut, true)
                       : conv(name + ".conv2", y, out, 3, 1, shortcut, true);
      }
    }
    const int features = plan.values[x].c;
    const ValueId vector = value("features", 1, 1, features), logits = value("logits", 1, 1, 1000);
    plan.steps.push_back({StepKind::kGlobalAvgPool, "avgpool", GlobalAvgPoolStep{x, vector}});
    plan.steps.push_back(
        {StepKind::kLinear, "fc", LinearStep{vector, logits, 1000, "fc.weight", "fc.bias"}});
    plan.steps.push_back({StepKind::kOutput, "output", OutputStep{logits, 0, MemoryLayout::kNchw}});
    parameter("fc.weight", {1000, features}, -0.05f, 0.05f);
    parameter("fc.bias", {1000}, -1, 1);
    plan.inputs = plan.outputs = 1;
  }

  Plan plan;
  std::vector<FormulaTensor> tensors;

 private:
  ValueId value(const std::string& name, int h, int w, int c) {
    plan.values.push_back({name, h, w, c, DType::kFloat32});
    return ValueId(plan.values.size()) - 1;
  }

  void parameter(const std::string& name, std::vector<int64_t> shape, float lo, float hi) {
    tensors.push_back({name, shape, lo, hi});
    plan.parameters.push_back({name, std::move(shape)});
  }

  ValueId conv(const std::string& name, ValueId x, int k, int kernel, int stride, ValueId residual,
               bool relu) {
    const ValueInfo in = plan.values[x];
    const int pad = kernel / 2;
    const int p = (in.h + 2 * pad - kernel) / stride + 1,
              q = (in.w + 2 * pad - kernel) / stride + 1;
    ConvStep step;
    step.input = x;
    step.output = value(name, p, q, k);
    step.residual = residual;
    step.k = k;
    step.kernel = {kernel, kernel};
    step.stride = {stride, stride};
    step.padding = {pad, pad};
    step.weight = name + ".weight";
    step.norm = NormNames{name + ".gamma", name + ".beta", name + ".mean", name + ".var", 1e-5};
    step.activation = relu ? Activation::kRelu : Activation::kNone;
    const float bound = 2.0f / float(std::max(8, int(std::sqrt(double(in.c) * kernel * kernel))));
    parameter(step.weight, {k, in.c, kernel, kernel}, -bound, bound);
    parameter(step.norm->weight, {k}, 0.2f, 0.8f);
    parameter(step.norm->bias, {k}, -0.2f, 0.2f);
    parameter(step.norm->mean, {k}, -0.2f, 0.2f);
    parameter(step.norm->var, {k}, 0.5f, 1.5f);
    const ValueId out = step.output;
    plan.steps.push_back({StepKind::kConv, name, std::move(step)});
    return out;
  }
};

int fail(const Status& status) {
  std::fprintf(stderr, "%s %s: %s\n", codeName(status.code), status.step.c_str(),
               status.message.c_str());
  return 1;
}

double secondsOf(Lane& lane, const Submission& submission) {
  std::mutex mutex;
  std::condition_variable finished;
  bool done = false;
  Status result;
  const auto begin = std::chrono::steady_clock::now();
  lane.submit(submission, nullptr, [&](Status status) {
    std::lock_guard lock(mutex);
    result = std::move(status);
    done = true;
    finished.notify_one();
  });
  std::unique_lock lock(mutex);
  finished.wait(lock, [&] { return done; });
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result.ok() ? seconds : 1e9;
}

}  // namespace

int main(int argc, char** argv) {
  int depth = 50, rounds = 30;
  bool steps = false;
  CompileOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--steps") {
      steps = true;
      continue;
    }
    const char* text = i + 1 < argc ? argv[++i] : "";
    if (word == "--depth")
      depth = std::atoi(text);
    else if (word == "--batch")
      options.maxBatch = std::atoi(text);
    else if (word == "--threads")
      options.threads = std::atoi(text);
    else if (word == "--isa")
      options.isa = text;
    else if (word == "--rounds")
      rounds = std::atoi(text);
    else if (word == "--precision")
      options.precision =
          std::strcmp(text, "highest") == 0 ? Float32Precision::kHighest : Float32Precision::kHigh;
    else {
      std::fprintf(stderr, "unknown option %s\n", word.c_str());
      return 2;
    }
  }
  NetworkBuilder network(depth);
  auto weights = makeFormulaWeights(1, network.tensors);
  auto backend = cpu::makeCpuBackend(cpu::ThreadPool::acquire());
  Control control;
  const auto begin = std::chrono::steady_clock::now();
  auto program = backend->compile(network.plan, weights, options, control);
  if (!program.ok()) return fail(program.status());
  const double compileSeconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  auto lane = program.value()->createLane();
  if (!lane.ok()) return fail(lane.status());

  const int batch = options.maxBatch;
  std::vector<float> input(size_t(batch) * 3 * 224 * 224), output(size_t(batch) * 1000);
  for (size_t i = 0; i < input.size(); ++i)
    input[i] = float((i * 2654435761u >> 8) % 2000) / 1000 - 1;
  Submission submission{batch, {{{input.data(), batch}}}, {{{output.data(), batch}}}};
  std::vector<double> times;
  std::vector<double> stepBest;
  std::clock_t processorBegin = 0;
  for (int round = 0; round < rounds + 2; ++round) {
    if (round == 2) processorBegin = std::clock();
    const double seconds = secondsOf(*lane.value(), submission);
    if (round < 2) continue;
    times.push_back(seconds);
    const std::vector<ExplainRow> rows = program.value()->explain();
    stepBest.resize(rows.size(), 1e9);
    for (size_t s = 0; s < rows.size(); ++s)
      stepBest[s] = std::min(stepBest[s], rows[s].milliseconds);
  }
  // All threads' processor time: what the network takes when other processes hold the cores,
  // waiting at barriers included.
  const double processorSeconds = double(std::clock() - processorBegin) / CLOCKS_PER_SEC / rounds;
  std::sort(times.begin(), times.end());
  if (steps) {
    const std::vector<ExplainRow> rows = program.value()->explain();
    for (size_t s = 0; s < rows.size(); ++s) {
      std::printf("%-24s %-16s %8.3f ms %7.1f GMAC/s\n", rows[s].step.c_str(),
                  rows[s].implementation.c_str(), stepBest[s],
                  rows[s].flop / 2 * batch / stepBest[s] / 1e6);
    }
  }
  double stepSum = 0;
  for (double milliseconds : stepBest) stepSum += milliseconds;
  std::printf(
      "ResNet-%d batch %d threads %d %s: best %.2f images/s, median %.2f, by the best of each step "
      "%.2f, by processor time %.2f; compiled in %.0f ms, "
      "weights %.1f MB, arena %.1f MB; logits[0] %g\n",
      depth, batch, program.value()->threads(), program.value()->isa(), batch / times[0],
      batch / times[times.size() / 2], batch / stepSum * 1e3,
      batch * program.value()->threads() / processorSeconds, compileSeconds * 1e3,
      double(program.value()->weightBytes()) / 1e6, double(program.value()->arenaBytes()) / 1e6,
      double(output[0]));
  return 0;
}
