// Runs one conv step through one candidate, on buffers with guards; shared by the op tests and the
// layer benchmark.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "cpu/conv/candidates.h"
#include "cpu/kernel.h"

namespace resnet::cpu::harness {

inline float formula(uint64_t seed, size_t i) {  // uniform in [-1, 1)
  uint64_t z = seed * 0x9E3779B97F4A7C15u + i * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return float((z ^ (z >> 31)) >> 40) * 0x1p-23f - 1.0f;
}

// Parameters by name, kept in memory.
class TableWeights final : public Weights {
 public:
  void add(const std::string& name, std::vector<int64_t> shape, std::vector<float> values) {
    entries_[name] = {{name, DType::kFloat32, std::move(shape)}, std::move(values)};
  }
  const std::vector<float>& values(const std::string& name) const {
    return entries_.at(name).values;
  }
  const TensorInfo* find(std::string_view name) const override {
    auto entry = entries_.find(std::string(name));
    return entry == entries_.end() ? nullptr : &entry->second.info;
  }
  Status read(std::string_view name, float* destination, size_t count) const override {
    auto entry = entries_.find(std::string(name));
    if (entry == entries_.end() || entry->second.values.size() != count) {
      return Status::error(Code::kMismatch, "parameter " + std::string(name) + " expected with " +
                                                std::to_string(count) + " elements");
    }
    std::memcpy(destination, entry->second.values.data(), count * sizeof(float));
    return Status::okay();
  }

 private:
  struct Entry {
    TensorInfo info;
    std::vector<float> values;
  };
  std::map<std::string, Entry> entries_;
};

// `count` floats on a cache line with 64 guard floats on both sides.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(size_t count, float fill) : count_(count) {
    memory_ = static_cast<float*>(
        ::operator new((count + 2 * kGuard) * sizeof(float), std::align_val_t{64}));
    for (size_t i = 0; i < count + 2 * kGuard; ++i) memory_[i] = sentinel();
    for (size_t i = 0; i < count; ++i) data()[i] = fill;
  }
  ~GuardedBuffer() { ::operator delete(memory_, std::align_val_t{64}); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  float* data() { return memory_ + kGuard; }
  bool intact() const {
    const float expected = sentinel();
    for (size_t i = 0; i < kGuard; ++i) {
      if (std::memcmp(memory_ + i, &expected, 4) != 0) return false;
      if (std::memcmp(memory_ + kGuard + count_ + i, &expected, 4) != 0) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kGuard = 64;
  static float sentinel() { return std::numeric_limits<float>::signaling_NaN(); }
  size_t count_;
  float* memory_;
};

struct ConvCase {
  int n = 1, c = 16, h = 8, w = 8, k = 16;
  Spatial kernel{3, 3}, stride{1, 1}, padding{1, 1}, dilation{1, 1};
  int groups = 1;
  bool residual = false, relu = false, norm = true, bias = false;
  bool positive = false;  // inputs in [0, 2), as behind a relu
  bool alias = false;     // the output takes over the residual's memory
  int extraHalo = 0;      // of the input beyond what the candidate wishes
  int outputHalo = 0;     // as the next step might wish
  int threads = 1;

  int p() const { return (h + 2 * padding.h - dilation.h * (kernel.h - 1) - 1) / stride.h + 1; }
  int q() const { return (w + 2 * padding.w - dilation.w * (kernel.w - 1) - 1) / stride.w + 1; }

  std::string name() const {
    auto pair = [](const char* word, Spatial s) {
      return std::string(" ") + word + std::to_string(s.h) +
             (s.h == s.w ? "" : "x" + std::to_string(s.w));
    };
    std::string out = "conv f32 n" + std::to_string(n) + " c" + std::to_string(c) + " h" +
                      std::to_string(h) + " w" + std::to_string(w) + " k" + std::to_string(k) +
                      " r" + std::to_string(kernel.h) + " s" + std::to_string(kernel.w) +
                      pair("stride", stride) + pair("pad", padding);
    if (dilation.h != 1 || dilation.w != 1) out += pair("dilation", dilation);
    if (groups != 1) out += " groups" + std::to_string(groups);
    if (extraHalo != 0) out += " inHalo+" + std::to_string(extraHalo);
    if (outputHalo != 0) out += " outHalo" + std::to_string(outputHalo);
    if (residual) out += alias ? " +residual aliased" : " +residual";
    if (relu) out += " relu";
    if (!norm) out += " no norm";
    if (bias) out += " bias";
    if (positive) out += " positive";
    if (threads != 1) out += " threads" + std::to_string(threads);
    return out;
  }
};

// A case as a plan of one step with its parameters.
struct ConvProblem {
  explicit ConvProblem(const ConvCase& test) : test(test) {
    plan.values = {{"x", test.h, test.w, test.c},
                   {"y", test.p(), test.q(), test.k},
                   {"z", test.p(), test.q(), test.k}};
    ConvStep conv;
    conv.input = 0;
    conv.output = 1;
    if (test.residual) conv.residual = 2;
    conv.k = test.k;
    conv.kernel = test.kernel;
    conv.stride = test.stride;
    conv.padding = test.padding;
    conv.dilation = test.dilation;
    conv.groups = test.groups;
    conv.weight = "w";
    const int perGroup = test.c / test.groups;
    const size_t taps = size_t(test.kernel.h) * test.kernel.w;
    const float scale = 1.7f / std::sqrt(float(perGroup) * float(taps));
    std::vector<float> w(size_t(test.k) * perGroup * taps);
    for (size_t i = 0; i < w.size(); ++i) w[i] = formula(1, i) * scale;
    weights.add("w", {test.k, perGroup, test.kernel.h, test.kernel.w}, std::move(w));
    auto vector = [&](const char* name, uint64_t seed, float lo, float hi) {
      std::vector<float> v(test.k);
      for (int i = 0; i < test.k; ++i) v[i] = lo + (hi - lo) * (formula(seed, i) + 1) / 2;
      weights.add(name, {test.k}, std::move(v));
    };
    if (test.bias) {
      conv.bias = "b";
      vector("b", 2, -1, 1);
    }
    if (test.norm) {
      conv.norm = NormNames{"gamma", "beta", "mean", "var", 1e-5};
      vector("gamma", 3, 0.5f, 1.5f);
      vector("beta", 4, -1, 1);
      vector("mean", 5, -1, 1);
      vector("var", 6, 0.5f, 1.5f);
    }
    if (test.relu) conv.activation = Activation::kRelu;
    plan.steps = {{StepKind::kConv, "conv", conv}};
  }

  StepQuery query(Isa isa, Float32Precision precision = Float32Precision::kHigh) const {
    return {plan, plan.steps[0], isa, test.threads, test.n, precision};
  }

  ConvCase test;
  Plan plan;
  TableWeights weights;
};

// Whether a candidate can run a step at all; whether it would be chosen is the business of
// refuse().
inline bool canRun(const Candidate& candidate, const StepQuery& query) {
  const bool winograd = &candidate == &winogradF4() || &candidate == &winogradF2();
  return winograd ? winogradShapeRefusal(query).empty() : candidate.refuse(query).empty();
}

// The buffers and kernel of a problem for one candidate.
struct ConvRun {
  ConvRun(const ConvProblem& problem, const Candidate& candidate, Isa isa) : problem(problem) {
    const ConvCase& t = problem.test;
    const StepQuery query = problem.query(isa);
    const InputWish wish = candidate.wish(query);
    layouts = {{wish.thin, t.h, t.w, t.c, wish.halo + t.extraHalo},
               {false, t.p(), t.q(), t.k, t.outputHalo},
               {false, t.p(), t.q(), t.k, t.alias ? t.outputHalo : 0}};
    auto made = candidate.make({query, layouts, problem.weights});
    status = made.ok() ? Status::okay() : made.takeStatus();
    if (!status.ok()) return;
    kernel = made.take();

    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (size_t v = 0; v < 3; ++v) {
      // A gap of NaN between images, so that reads and writes past one show.
      strides[v] = layouts[v].imageFloats() + 32;
      buffers.push_back(std::make_unique<GuardedBuffer>(strides[v] * t.n, nan));
    }
    fill(0, 7);
    fill(2, 8);
    views.resize(3);
    for (size_t v = 0; v < 3; ++v) views[v] = {buffers[v]->data(), strides[v], &layouts[v]};
    if (t.alias) views[1] = views[2];
    scratchFloats = (kernel->scratchFloats() + 63) / 16 * 16;
    scratch = std::make_unique<GuardedBuffer>(scratchFloats * t.threads, nan);
  }

  // The whole image, halo, padded channels and slack included, is zero except for the values.
  void fill(int v, uint64_t seed) {
    const Layout& l = layouts[v];
    for (int i = 0; i < problem.test.n; ++i) {
      float* image = buffers[v]->data() + i * strides[v];
      std::memset(image, 0, l.imageFloats() * sizeof(float));
      for (int c = 0; c < l.c; ++c) {
        for (int y = 0; y < l.h; ++y) {
          for (int x = 0; x < l.w; ++x) {
            const float value = formula(seed, ((size_t(i) * l.c + c) * l.h + y) * l.w + x);
            image[(l.thin ? l.at(0, y, x) + c : l.at(c / kBlock, y, x) + c % kBlock)] =
                value + (v == 0 && problem.test.positive ? 1 : 0);
          }
        }
      }
    }
  }

  void runThread(int thread) {
    Work work;
    work.thread = thread;
    work.threads = problem.test.threads;
    work.images = problem.test.n;
    work.views = views.data();
    work.scratch = scratch->data() + thread * scratchFloats;
    kernel->run(work);
  }

  void run() {
    std::vector<std::thread> others;
    for (int t = 1; t < problem.test.threads; ++t) others.emplace_back([this, t] { runThread(t); });
    runThread(0);
    for (std::thread& other : others) other.join();
  }

  const ConvProblem& problem;
  Status status;
  std::vector<Layout> layouts;
  std::unique_ptr<Kernel> kernel;
  std::vector<std::unique_ptr<GuardedBuffer>> buffers;
  size_t strides[3];
  std::vector<View> views;
  size_t scratchFloats = 0;
  std::unique_ptr<GuardedBuffer> scratch;
};

}  // namespace resnet::cpu::harness
