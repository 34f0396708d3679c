// Every step kind but conv (conv_op_test.cc has that one) through the whole CPU backend, input to
// output, against naive references in double; then batches over several chunks, cancellation, and
// bit-identical repetition.
#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <mutex>
#include <string>

#include "cpu/backend.h"
#include "cpu/isa.h"

using namespace resnet;

namespace {

int passed = 0, failed = 0;

void check(bool condition, const std::string& what) {
  ++(condition ? passed : failed);
  if (!condition) std::printf("FAILED %s\n", what.c_str());
}

float formula(int seed, size_t i) {  // uniform in [-2, 2)
  uint64_t z = uint64_t(seed) * 0x9E3779B97F4A7C15u + i * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return float((z ^ (z >> 31)) >> 40) * 0x1p-22f - 2.0f;
}

struct Shape {
  int h, w, c;
  size_t count() const { return size_t(h) * w * c; }
};

// One-step plans: input 0 (and 1) -> step -> output 0 (and 1).
struct Case {
  std::string name;
  Shape in, out;
  StepKind kind;
  StepBody body;
  // x in NCHW of one image -> expected y in NCHW
  std::function<double(const float* x, int c, int p, int q)> expect;
  int inputs = 1;
  double tolerance = 2e-6;
};

Plan planOf(const Case& test, MemoryLayout layout) {
  Plan plan;
  plan.inputs = test.inputs;
  plan.outputs = test.kind == StepKind::kTopK ? 2 : 1;
  for (int i = 0; i < test.inputs; ++i) {
    plan.values.push_back(
        {"x" + std::to_string(i), test.in.h, test.in.w, test.in.c, DType::kFloat32});
    plan.steps.push_back(
        {StepKind::kInput, "input", InputStep{i, i, DType::kFloat32, layout, {}, {}}});
  }
  plan.steps.push_back({test.kind, test.name, test.body});
  for (ValueId v : stepOutputs(plan.steps.back())) {
    while (int(plan.values.size()) <= v)
      plan.values.push_back({"y", test.out.h, test.out.w, test.out.c});
    plan.steps.push_back({StepKind::kOutput, "output", OutputStep{v, v - test.inputs, layout}});
  }
  if (test.kind == StepKind::kTopK) plan.values.back().dtype = DType::kInt32;
  return plan;
}

Status runOnce(Lane& lane, Submission submission,
               std::shared_ptr<const Control> control = nullptr) {
  std::mutex mutex;
  std::condition_variable condition;
  bool settled = false;
  Status result;
  lane.submit(std::move(submission), std::move(control), [&](Status status) {
    std::lock_guard lock(mutex);
    result = std::move(status);
    settled = true;
    condition.notify_one();
  });
  std::unique_lock lock(mutex);
  condition.wait(lock, [&] { return settled; });
  return result;
}

std::shared_ptr<const Weights> weightsFor(int channels, int k) {
  std::vector<FormulaTensor> tensors{{"w", {k, channels}, -0.5f, 0.5f}, {"b", {k}, -1, 1}};
  for (const char* name : {"nw", "nb", "nm"}) tensors.push_back({name, {channels}, -1, 1});
  tensors.push_back({"nv", {channels}, 0.1f, 2});
  return makeFormulaWeights(7, std::move(tensors));
}

std::vector<float> read(const Weights& weights, const char* name) {
  const TensorInfo* info = weights.find(name);
  size_t count = 1;
  for (int64_t d : info->shape) count *= size_t(d);
  std::vector<float> values(count);
  check(weights.read(name, values.data(), count).ok(), std::string("read ") + name);
  return values;
}

void run(Backend& backend, const Case& test, cpu::Isa isa, int threads, int batch,
         MemoryLayout layout, const std::shared_ptr<const Weights>& weights) {
  const std::string name =
      test.name + " n" + std::to_string(batch) + " t" + std::to_string(threads) +
      (layout == MemoryLayout::kNchw ? " nchw [" : " nhwc [") + cpu::isaName(isa) + "]";
  const Plan plan = planOf(test, layout);
  CompileOptions options;
  options.maxBatch = batch;
  options.threads = threads;
  options.isa = cpu::isaName(isa);
  auto program = backend.compile(plan, weights, options, Control{});
  if (!program.ok()) return check(false, name + ": " + program.status().message);
  auto lane = program.value()->createLane();
  if (!lane.ok()) return check(false, name + ": " + lane.status().message);

  const size_t in = test.in.count(), out = test.out.count();
  constexpr size_t kGuard = 16;
  std::vector<float> x(in * batch * test.inputs), y(out * batch + kGuard, NAN),
      indices(out * batch + kGuard, NAN);
  std::vector<float> nchw(in * batch * test.inputs);
  for (size_t i = 0; i < nchw.size(); ++i) nchw[i] = formula(3, i);
  const auto at = [&](Shape s, int c, int yy, int xx) {
    return layout == MemoryLayout::kNchw ? (size_t(c) * s.h + yy) * s.w + xx
                                         : (size_t(yy) * s.w + xx) * s.c + c;
  };
  for (int n = 0; n < batch * test.inputs; ++n) {
    for (int c = 0; c < test.in.c; ++c) {
      for (int h = 0; h < test.in.h; ++h) {
        for (int w = 0; w < test.in.w; ++w) {
          x[n * in + at(test.in, c, h, w)] =
              nchw[n * in + (size_t(c) * test.in.h + h) * test.in.w + w];
        }
      }
    }
  }
  Submission submission;
  submission.batch = batch;
  for (int i = 0; i < test.inputs; ++i) {  // one piece of one image, one of the others
    std::vector<InputPiece> pieces{{x.data() + i * in * batch, 1}};
    if (batch > 1) pieces.push_back({x.data() + i * in * batch + in, batch - 1});
    submission.inputs.push_back(pieces);
  }
  submission.outputs.push_back({{y.data(), batch}});
  if (test.kind == StepKind::kTopK) submission.outputs.push_back({{indices.data(), batch}});
  const Status status = runOnce(*lane.value(), submission);
  if (!status.ok()) return check(false, name + ": " + status.message);

  double worst = 0, largest = 0;
  for (int n = 0; n < batch; ++n) {
    for (int c = 0; c < test.out.c; ++c) {
      for (int p = 0; p < test.out.h; ++p) {
        for (int q = 0; q < test.out.w; ++q) {
          const double expected = test.expect(nchw.data() + n * in, c, p, q);
          const double got = y[n * out + at(test.out, c, p, q)];
          const double error = std::abs(got - expected);
          worst = error == error ? std::max(worst, error) : INFINITY;
          largest = std::max(largest, std::abs(expected));
        }
      }
    }
  }
  check(worst <= test.tolerance * largest, name + ": error " + std::to_string(worst / largest));
  bool guarded = true;
  for (size_t i = 0; i < kGuard; ++i) guarded = guarded && std::isnan(y[out * batch + i]);
  check(guarded, name + ": wrote past the output");

  std::vector<float> again(out * batch + kGuard, NAN);
  submission.outputs[0] = {{again.data(), batch}};
  check(runOnce(*lane.value(), submission).ok(), name + ": second run");
  check(std::memcmp(again.data(), y.data(), out * batch * sizeof(float)) == 0,
        name + ": not bit-identical");
}

PoolStep pool(int kernel, int stride, int padding, int dilation, bool ceilMode,
              bool countIncludePad) {
  PoolStep step;
  step.input = 0;
  step.output = 1;
  step.kernel = {kernel, kernel};
  step.stride = {stride, stride};
  step.padding = {padding, padding};
  step.dilation = {dilation, dilation};
  step.ceilMode = ceilMode;
  step.countIncludePad = countIncludePad;
  return step;
}

Case poolCase(StepKind kind, Shape in, PoolStep step) {
  const auto size = [&](int n) {
    return int(windowOutputSize(n, step.kernel.h, step.stride.h, step.padding.h, step.dilation.h,
                                step.ceilMode));
  };
  const Shape out{size(in.h), size(in.w), in.c};
  auto expect = [=](const float* x, int c, int p, int q) {
    double sum = 0, best = -std::numeric_limits<double>::infinity();
    int inside = 0, padded = 0;
    for (int r = 0; r < step.kernel.h; ++r) {
      for (int s = 0; s < step.kernel.w; ++s) {
        const int y = p * step.stride.h - step.padding.h + r * step.dilation.h;
        const int z = q * step.stride.w - step.padding.w + s * step.dilation.w;
        if (y < in.h + step.padding.h && z < in.w + step.padding.w) ++padded;
        if (y < 0 || z < 0 || y >= in.h || z >= in.w) continue;
        const double value = x[(size_t(c) * in.h + y) * in.w + z];
        ++inside;
        sum += value;
        best = std::max(best, value);
      }
    }
    return kind == StepKind::kMaxPool ? best : sum / (step.countIncludePad ? padded : inside);
  };
  std::string name = std::string(stepKindName(kind)) + " c" + std::to_string(in.c) + " h" +
                     std::to_string(in.h) + " w" + std::to_string(in.w) + " k" +
                     std::to_string(step.kernel.h) + " stride" + std::to_string(step.stride.h) +
                     " pad" + std::to_string(step.padding.h) + (step.ceilMode ? " ceil" : "") +
                     (step.countIncludePad ? "" : " -pad");
  return {name, in, out, kind, step, expect};
}

std::vector<Case> cases(const Weights& weights, int channels, int k) {
  std::vector<Case> list;
  for (Shape in : {Shape{112, 112, 17}, Shape{9, 7, 16}, Shape{5, 12, 3}}) {
    list.push_back(poolCase(StepKind::kMaxPool, in, pool(3, 2, 1, 1, false, true)));
    list.push_back(poolCase(StepKind::kMaxPool, in, pool(2, 2, 0, 1, true, true)));
    list.push_back(poolCase(StepKind::kMaxPool, in, pool(2, 1, 1, 2, false, true)));
    list.push_back(poolCase(StepKind::kAvgPool, in, pool(3, 2, 1, 1, true, true)));
    list.push_back(poolCase(StepKind::kAvgPool, in, pool(3, 2, 1, 1, true, false)));
  }
  const Shape map{6, 5, channels}, vector{1, 1, channels};
  list.push_back({"globalAvgPool", map, vector, StepKind::kGlobalAvgPool, GlobalAvgPoolStep{0, 1},
                  [=](const float* x, int c, int, int) {
                    double sum = 0;
                    for (int i = 0; i < 30; ++i) sum += x[c * 30 + i];
                    return sum / 30;
                  }});
  const auto w = read(weights, "w"), b = read(weights, "b"), nw = read(weights, "nw"),
             nb = read(weights, "nb"), nm = read(weights, "nm"), nv = read(weights, "nv");
  list.push_back({"linear",
                  vector,
                  {1, 1, k},
                  StepKind::kLinear,
                  LinearStep{0, 1, k, "w", "b"},
                  [=](const float* x, int c, int, int) {
                    double sum = b[c];
                    for (int i = 0; i < channels; ++i)
                      sum += double(w[size_t(c) * channels + i]) * x[i];
                    return sum;
                  }});
  for (Activation act : {Activation::kNone, Activation::kRelu}) {
    const auto clip = [act](double v) { return act == Activation::kRelu && v < 0 ? 0 : v; };
    const std::string suffix = act == Activation::kRelu ? " +relu" : "";
    list.push_back({"affine" + suffix, map, map, StepKind::kAffine,
                    AffineStep{0, 1, {"nw", "nb", "nm", "nv", 1e-5}, act},
                    [=](const float* x, int c, int p, int q) {
                      const double v = x[(c * 6 + p) * 5 + q];
                      return clip((v - nm[c]) / std::sqrt(nv[c] + 1e-5) * nw[c] + nb[c]);
                    }});
  }
  list.push_back(
      {"activation", map, map, StepKind::kActivation, ActivationStep{0, 1, Activation::kRelu},
       [](const float* x, int c, int p, int q) { return std::max(0.0f, x[(c * 6 + p) * 5 + q]); }});
  list.push_back({"softmax", vector, vector, StepKind::kSoftmax, SoftmaxStep{0, 1},
                  [=](const float* x, int c, int, int) {
                    double sum = 0;
                    for (int i = 0; i < channels; ++i) sum += std::exp(double(x[i]));
                    return std::exp(double(x[c])) / sum;
                  }});
  list.push_back({"topK",
                  vector,
                  {1, 1, 5},
                  StepKind::kTopK,
                  TopKStep{0, 1, 2, 5},
                  [=](const float* x, int c, int, int) {
                    std::vector<float> sorted(x, x + channels);
                    std::sort(sorted.begin(), sorted.end(), std::greater<>());
                    return sorted[c];
                  }});
  return list;
}

// add has two inputs, whose images do not follow each other in memory: its own check.
void addTwoInputs(Backend& backend, cpu::Isa isa) {
  Case test{"add", {4, 3, 18}, {4, 3, 18}, StepKind::kAdd, AddStep{0, 1, 2, Activation::kRelu},
            {},    2};
  const int batch = 3;
  const size_t image = test.in.count();
  test.expect = [=](const float* x, int c, int p, int q) {
    const size_t i = (size_t(c) * 4 + p) * 3 + q;
    return std::max(0.0f, x[i] + x[image * batch + i]);
  };
  for (int threads : {1, 2}) {
    run(backend, test, isa, threads, batch, MemoryLayout::kNchw, weightsFor(1, 1));
  }
}

void cancellation(Backend& backend) {
  const Case test = poolCase(StepKind::kMaxPool, {64, 64, 32}, pool(3, 1, 1, 1, false, true));
  CompileOptions options;
  options.threads = 2;
  options.maxBatch = 4;
  auto program =
      backend.compile(planOf(test, MemoryLayout::kNchw), weightsFor(1, 1), options, Control{});
  auto lane = program.value()->createLane();
  std::vector<float> x(test.in.count() * 4, 1), y(test.out.count() * 4);
  auto control = std::make_shared<Control>();
  control->cancelled = true;
  const Submission submission{4, {{{x.data(), 4}}}, {{{y.data(), 4}}}};
  check(runOnce(*lane.value(), submission, control).code == Code::kAborted,
        "a cancelled run ends as aborted");
  check(runOnce(*lane.value(), submission).ok() && y[0] == 1, "the lane is usable after it");
}

void pixels(Backend& backend) {
  Plan plan;
  plan.inputs = plan.outputs = 1;
  plan.values.push_back({"x", 5, 4, 3});
  plan.steps.push_back(
      {StepKind::kInput, "input",
       InputStep{
           0, 0, DType::kUint8, MemoryLayout::kNhwc, {0.4f, 0.5f, 0.6f}, {0.2f, 0.3f, 0.25f}}});
  plan.steps.push_back({StepKind::kOutput, "output", OutputStep{0, 0, MemoryLayout::kNchw}});
  auto program = backend.compile(plan, weightsFor(1, 1), {}, Control{});
  auto lane = program.value()->createLane();
  std::vector<uint8_t> x(60);
  for (int i = 0; i < 60; ++i) x[i] = uint8_t(i * 37);
  std::vector<float> y(60, NAN);
  check(runOnce(*lane.value(), {1, {{{x.data(), 1}}}, {{{y.data(), 1}}}}).ok(), "uint8 input runs");
  const double mean[] = {0.4f, 0.5f, 0.6f}, deviation[] = {0.2f, 0.3f, 0.25f};
  double worst = 0;
  for (int c = 0; c < 3; ++c) {
    for (int i = 0; i < 20; ++i) {
      worst = std::max(worst,
                       std::abs(y[c * 20 + i] - (x[i * 3 + c] / 255.0 - mean[c]) / deviation[c]));
    }
  }
  check(worst < 1e-6, "uint8 is normalised: error " + std::to_string(worst));
}

void halves(Backend& backend, cpu::Isa isa) {
  // In float16 1.5, -2, a denormal, infinity, the largest number and about a third. (bfloat16's denormals are float32's,
  // which the kernels take for 0.)
  const std::vector<uint16_t> bits{0x3E00, 0xC000, 0x0081, 0x7C00, 0x7BFF, 0x3555};
  for (DType dtype : {DType::kFloat16, DType::kBFloat16}) {
    for (MemoryLayout layout : {MemoryLayout::kNchw, MemoryLayout::kNhwc}) {
      Plan plan;
      plan.inputs = plan.outputs = 1;
      plan.values.push_back({"x", 1, 2, 3});
      plan.steps.push_back({StepKind::kInput, "input", InputStep{0, 0, dtype, layout, {}, {}}});
      plan.steps.push_back({StepKind::kOutput, "output", OutputStep{0, 0, layout}});
      CompileOptions options;
      options.isa = cpu::isaName(isa);
      auto program = backend.compile(plan, weightsFor(1, 1), options, Control{});
      auto lane = program.value()->createLane();
      std::vector<float> y(6, NAN), expected(6);
      convertToFloat32(dtype, bits.data(), bits.size(), expected.data());
      const Submission submission{1, {{{bits.data(), 1}}}, {{{y.data(), 1}}}};
      check(
          runOnce(*lane.value(), submission).ok() && y == expected,
          std::string(dtypeName(dtype)) + " input is widened exactly [" + cpu::isaName(isa) + "]");
    }
  }
}

}  // namespace

int main() {
  auto backend = cpu::makeCpuBackend(cpu::ThreadPool::acquire());
  const int channels = 37, k = 19;
  const auto weights = weightsFor(channels, k);
  for (const cpu::IsaSupport& tier : cpu::hostIsas()) {
    if (!tier.supported) {
      std::printf("skipped: tier %s (%s)\n", cpu::isaName(tier.isa), tier.reason.c_str());
      continue;
    }
    for (const Case& test : cases(*weights, channels, k)) {
      for (int batch : {1, 5})
        run(*backend, test, tier.isa, 1 + batch % 2, batch, MemoryLayout::kNchw, weights);
      run(*backend, test, tier.isa, 2, 3, MemoryLayout::kNhwc, weights);
    }
    addTwoInputs(*backend, tier.isa);
    halves(*backend, tier.isa);
  }
  cancellation(*backend);
  pixels(*backend);
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
