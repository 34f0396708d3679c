// Every step kind but conv (conv_op_test.cc has that one) through the whole CPU backend, input to output, on every tier: all
// rows of the common table, each in batches of several sizes, threads and layouts, twice with the same bits. Then
// cancellation, and halves to the bit. Arguments filter by parts of a case's name.
#include <algorithm>
#include <bit>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "check.h"
#include "conv_harness.h"
#include "cpu/backend.h"
#include "cpu/isa.h"
#include "op_rows.h"

using namespace resnet;
using namespace resnet::test;

namespace {

Backend& backend() {
  static const std::shared_ptr<Backend> made = cpu::makeCpuBackend(cpu::ThreadPool::acquire());
  return *made;
}

// How a row is run.
struct Way {
  int batch, threads;
  MemoryLayout layout;  // of what a row says nothing about
};

// ---- the plan ----

std::shared_ptr<const Weights> weightsOf(const OpRow& row) {
  auto weights = std::make_shared<cpu::harness::TableWeights>();
  const auto vector = [](int count, float (*at)(int)) {
    std::vector<float> values(count);
    for (int i = 0; i < count; ++i) values[i] = at(i);
    return values;
  };
  const int c = row.in.c;
  weights->add("nw", {c}, vector(c, normWeight));
  weights->add("nb", {c}, vector(c, normBias));
  weights->add("nm", {c}, vector(c, normMean));
  weights->add("nv", {c}, vector(c, normVar));
  std::vector<float> matrix(size_t(row.k) * c);
  for (int k = 0; k < row.k; ++k)
    for (int i = 0; i < c; ++i) matrix[size_t(k) * c + i] = linearWeight(c, k, i);
  weights->add("w", {row.k, c}, std::move(matrix));
  weights->add("b", {row.k}, vector(row.k, linearBias));
  return weights;
}

// Value 0 (and 1, of add) to the next one (and the one after, of topK).
StepBody bodyOf(const OpRow& row) {
  switch (row.kind) {
    case StepKind::kMaxPool:
    case StepKind::kAvgPool: {
      PoolStep step = row.window;
      step.input = 0;
      step.output = 1;
      return step;
    }
    case StepKind::kGlobalAvgPool:
      return GlobalAvgPoolStep{0, 1};
    case StepKind::kLinear:
      return LinearStep{0, 1, row.k, "w", "b"};
    case StepKind::kAffine:
      return AffineStep{0, 1, {"nw", "nb", "nm", "nv", kNormEps}, row.activation};
    case StepKind::kAdd:
      return AddStep{0, 1, 2, row.activation};
    case StepKind::kActivation:
      return ActivationStep{0, 1, row.activation};
    case StepKind::kSoftmax:
      return SoftmaxStep{0, 1};
    default:
      return TopKStep{0, 1, 2, row.k};
  }
}

std::vector<ParameterInfo> parametersOf(const OpRow& row) {
  const int64_t c = row.in.c, k = row.k;
  if (row.kind == StepKind::kAffine) return {{"nw", {c}}, {"nb", {c}}, {"nm", {c}}, {"nv", {c}}};
  if (row.kind == StepKind::kLinear) return {{"w", {k, c}}, {"b", {k}}};
  return {};
}

bool isBorder(const OpRow& row) {
  return row.kind == StepKind::kInput || row.kind == StepKind::kOutput;
}

InputStep inputOf(const OpRow& row, int index, const Way& way) {
  InputStep step{index, index, DType::kFloat32, way.layout, {}, {}};
  if (row.kind != StepKind::kInput) return step;
  step.layout = row.layout;
  step.dtype = row.source;
  for (int c = 0; row.normalised && c < row.in.c; ++c) {
    step.mean.push_back(pixelMean(c));
    step.std.push_back(pixelDeviation(c));
  }
  return step;
}

Plan planOf(const OpRow& row, const Way& way) {
  Plan plan;
  plan.inputs = row.kind == StepKind::kAdd ? 2 : 1;
  plan.parameters = parametersOf(row);
  for (int i = 0; i < plan.inputs; ++i) {
    plan.values.push_back({"x" + std::to_string(i), row.in.h, row.in.w, row.in.c});
    plan.steps.push_back({StepKind::kInput, "input", inputOf(row, i, way)});
  }
  std::vector<ValueId> results{0};
  if (!isBorder(row)) {
    plan.steps.push_back({row.kind, row.op(), bodyOf(row)});
    results = stepOutputs(plan.steps.back());
  }
  for (ValueId v : results) {
    if (v == int(plan.values.size()))
      plan.values.push_back({"y" + std::to_string(v), row.out.h, row.out.w, row.out.c});
    const MemoryLayout layout = row.kind == StepKind::kOutput ? row.layout : way.layout;
    plan.steps.push_back({StepKind::kOutput, "output", OutputStep{v, plan.outputs++, layout}});
  }
  if (row.kind == StepKind::kTopK) plan.values.back().dtype = DType::kInt32;
  return plan;
}

// ---- a run ----

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

// Bits of a float16 that holds the value exactly, and is no denormal.
uint16_t float16Bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000, exponent = bits >> 23 & 0xFF,
                 fraction = bits & 0x7FFFFF;
  if (exponent == 0xFF) return uint16_t(sign | 0x7C00 | (fraction != 0 ? 0x200 : 0));
  return uint16_t(exponent == 0 ? sign : sign | (exponent - 112) << 10 | fraction >> 13);
}

void store(DType dtype, std::byte* at, double value) {
  const float single = float(value);
  const uint16_t half = dtype == DType::kFloat16 ? float16Bits(single)
                                                 : uint16_t(std::bit_cast<uint32_t>(single) >> 16);
  const auto byte = uint8_t(dtype == DType::kUint8 ? value : 0);
  if (dtype == DType::kFloat32) std::memcpy(at, &single, sizeof single);
  if (dtype == DType::kFloat16 || dtype == DType::kBFloat16) std::memcpy(at, &half, sizeof half);
  if (dtype == DType::kUint8) std::memcpy(at, &byte, sizeof byte);
}

constexpr size_t kGuard = 16;

// A row in one way: the caller's memory, and what the step is to see of it.
class Run {
 public:
  Run(const OpRow& row, const Way& way)
      : row_(row), way_(way), in_(row.in), out_(row.out), plan_(planOf(row, way)) {
    in_.n = out_.n = way.batch;
    const DType dtype = std::get<InputStep>(plan_.steps[0].body).dtype;
    const size_t bytes = dtypeBytes(dtype);
    for (int i = 0; i < plan_.inputs; ++i) {
      std::vector<std::byte>& memory = inputs_.emplace_back(in_.count() * bytes);
      for (int n = 0; n < in_.n; ++n)
        for (int y = 0; y < in_.h; ++y)
          for (int x = 0; x < in_.w; ++x)
            for (int c = 0; c < in_.c; ++c)
              store(dtype, memory.data() + place(n, y, x, c) * bytes, given(i, n, y, x, c));
    }
    outputs_.assign(plan_.outputs, std::vector<float>(out_.count() + kGuard, NAN));
  }

  // What is wrong; empty when nothing is.
  std::string check(cpu::Isa isa) {
    if (const Status valid = checkPlan(plan_); !valid.ok()) return valid.message;
    CompileOptions options;
    options.maxBatch = way_.batch;
    options.threads = way_.threads;
    options.isa = cpu::isaName(isa);
    auto program = backend().compile(plan_, weightsOf(row_), options, Control{});
    if (!program.ok()) return program.status().message;
    auto lane = program.value()->createLane();
    if (!lane.ok()) return lane.status().message;
    if (const Status status = runOnce(*lane.value(), submission()); !status.ok())
      return status.message;
    std::string error = compare();
    const std::vector<std::vector<float>> first = outputs_;
    for (std::vector<float>& output : outputs_) std::fill(output.begin(), output.end(), NAN);
    if (error.empty() && !runOnce(*lane.value(), submission()).ok())
      error = "the second run failed";
    for (size_t i = 0; error.empty() && i < first.size(); ++i)
      if (std::memcmp(first[i].data(), outputs_[i].data(), first[i].size() * sizeof(float)) != 0)
        error = "the second run has other bits";
    return error;
  }

 private:
  size_t place(int n, int y, int x, int c) const {
    return placeIn(std::get<InputStep>(plan_.steps[0].body).layout, in_, n, y, x, c);
  }
  double given(int input, int n, int y, int x, int c) const {
    if (row_.kind == StepKind::kInput) return sourceAt(row_, place(n, y, x, c));
    const int seed = input == 0 ? kInputSeed : kSecondSeed;
    return float(contentAt(row_.content, seed, placeOf(in_, n, y, x, c)));
  }

  Submission submission() {  // each in one piece of one image, and one of the others
    Submission all;
    all.batch = way_.batch;
    for (std::vector<std::byte>& memory : inputs_) {
      auto& pieces = all.inputs.emplace_back();
      pieces.push_back({memory.data(), 1});
      if (way_.batch > 1)
        pieces.push_back({memory.data() + memory.size() / way_.batch, way_.batch - 1});
    }
    for (std::vector<float>& output : outputs_)
      all.outputs.push_back({{output.data(), way_.batch}});
    return all;
  }

  std::string compare() const {
    const Reference reference(
        row_, in_.n, [this](int n, int y, int x, int c) { return given(0, n, y, x, c); },
        [this](int n, int y, int x, int c) { return given(1, n, y, x, c); });
    double largest = 1;
    std::vector<double> expected(out_.count());
    const MemoryLayout layout = std::get<OutputStep>(plan_.steps.back().body).layout;
    for (int n = 0; n < out_.n; ++n)
      for (int p = 0; p < out_.h; ++p)
        for (int q = 0; q < out_.w; ++q)
          for (int c = 0; c < out_.c; ++c) {
            const double value = reference.at(n, p, q, c);
            expected[placeIn(layout, out_, n, p, q, c)] = value;
            if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
            if (row_.kind != StepKind::kTopK) continue;
            const int got = std::bit_cast<int>(outputs_[1][size_t(n) * out_.c + c]);
            if (got != reference.indexAt(n, c))
              return "index " + std::to_string(c) + " of image " + std::to_string(n) + " is " +
                     std::to_string(got) + ", expected " + std::to_string(reference.indexAt(n, c));
          }
    // One rounding of the result, and float32 arithmetic in another order than the reference's.
    const Tolerance tolerance = row_.exact() ? Tolerance{} : Tolerance{2e-6, 2e-6 * largest};
    for (size_t i = 0; i < expected.size(); ++i)
      if (!agree(outputs_[0][i], expected[i], tolerance))
        return "element " + std::to_string(i) + " is " + std::to_string(outputs_[0][i]) +
               ", expected " + std::to_string(expected[i]);
    for (const std::vector<float>& output : outputs_)
      for (size_t i = out_.count(); i < output.size(); ++i)
        if (!std::isnan(output[i])) return "wrote past the output";
    return {};
  }

  const OpRow& row_;
  const Way way_;
  Shape in_, out_;  // of the batch
  const Plan plan_;
  std::vector<std::vector<std::byte>> inputs_;
  std::vector<std::vector<float>> outputs_;  // int32 of topK as the same bits
};

void runRow(const OpRow& row, cpu::Isa isa) {
  for (const Way& way : {Way{row.in.n, 1, MemoryLayout::kNchw}, Way{5, 2, MemoryLayout::kNchw},
                         Way{3, 2, MemoryLayout::kNhwc}}) {
    const std::string error = Run(row, way).check(isa);
    if (error.empty()) continue;
    fault(__FILE__, __LINE__,
          "batch " + std::to_string(way.batch) + ", threads " + std::to_string(way.threads) +
              (way.layout == MemoryLayout::kNchw ? ", nchw: " : ", nhwc: ") + error);
  }
}

TEST("cancellation: a cancelled run ends as aborted, and the lane is usable after it") {
  const OpRow row =
      poolRow(StepKind::kMaxPool, {4, 64, 64, 32}, window({3, 3}, {1, 1}, {1, 1}, {1, 1}, false));
  CompileOptions options;
  options.threads = 2;
  options.maxBatch = 4;
  const Plan plan = planOf(row, {4, 2, MemoryLayout::kNchw});
  auto program = backend().compile(plan, weightsOf(row), options, Control{});
  auto lane = program.value()->createLane();
  std::vector<float> x(row.in.count(), 1), y(row.out.count());
  auto control = std::make_shared<Control>();
  control->cancelled = true;
  const Submission submission{4, {{{x.data(), 4}}}, {{{y.data(), 4}}}};
  CHECK(runOnce(*lane.value(), submission, control).code == Code::kAborted);
  CHECK(runOnce(*lane.value(), submission).ok());
  CHECK_EQ(y[0], 1.0f);
}

void halves(cpu::Isa isa) {
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
      auto program = backend().compile(plan, weightsOf({}), options, Control{});
      auto lane = program.value()->createLane();
      std::vector<float> y(6, NAN), expected(6);
      convertToFloat32(dtype, bits.data(), bits.size(), expected.data());
      const Submission submission{1, {{{bits.data(), 1}}}, {{{y.data(), 1}}}};
      CHECK(runOnce(*lane.value(), submission).ok());
      CHECK(y == expected);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<OpRow> rows = opRows();
  auto& cases = Registry::get().cases;
  for (const cpu::IsaSupport& tier : cpu::hostIsas()) {
    const std::string where = std::string(" [") + cpu::isaName(tier.isa) + "]";
    if (!tier.supported) {
      skip("every row" + where, tier.reason);
      continue;
    }
    for (const OpRow& row : rows)
      cases.push_back(
          {row.op() + " " + shapeName(row.in) + row.suffix() + contentName(row.content) + where,
           [&row, isa = tier.isa] { runRow(row, isa); }});
    cases.push_back({"halves are widened exactly" + where, [isa = tier.isa] { halves(isa); }});
  }
  std::printf("%zu rows of the common table\n", rows.size());
  return runCases(argc, argv);
}
