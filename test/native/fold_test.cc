#include "core/fold.h"

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"

namespace {

using namespace resnet;

ConvStep convOf(int k, int r, int s, int groups) {
  ConvStep step;
  step.k = k;
  step.kernel = {r, s};
  step.groups = groups;
  step.weight = "w";
  return step;
}

NormNames normNames(double eps) { return {"gamma", "beta", "mean", "var", eps}; }

std::shared_ptr<const Weights> formula(int k, int groupChannels, int r, int s) {
  return makeFormulaWeights(7, {{"w", {k, groupChannels, r, s}, -1, 1},
                                {"bias", {k}, -1, 1},
                                {"gamma", {k}, 0.5, 2},
                                {"beta", {k}, -1, 1},
                                {"mean", {k}, -1, 1},
                                {"var", {k}, 0.1f, 3}});
}

std::vector<float> readAll(const Weights& weights, const char* name, size_t count) {
  std::vector<float> out(count);
  CHECK(weights.read(name, out.data(), count).ok());
  return out;
}

TEST("fold: KCRS to KRSC for every kind of kernel") {
  struct Row {
    int k, channels, r, s, groups;
  };
  for (const Row& row :
       {Row{5, 7, 1, 1, 1}, Row{4, 6, 3, 3, 2}, Row{3, 3, 7, 7, 1}, Row{6, 6, 3, 3, 6},
        Row{2, 5, 5, 5, 1}, Row{3, 4, 3, 1, 1}, Row{2, 3, 2, 3, 1}, Row{33, 65, 3, 3, 1}}) {
    const int c = row.channels / row.groups;
    const auto weights = formula(row.k, c, row.r, row.s);
    const auto folded = foldConv(convOf(row.k, row.r, row.s, row.groups), row.channels, *weights);
    CHECK(folded.ok());
    if (!folded.ok()) continue;
    const auto source = readAll(*weights, "w", size_t(row.k) * c * row.r * row.s);
    CHECK_EQ(folded.value().weight.size(), source.size());
    int wrong = 0;
    size_t at = 0;
    for (int k = 0; k < row.k; ++k)
      for (int r = 0; r < row.r; ++r)
        for (int s = 0; s < row.s; ++s)
          for (int ch = 0; ch < c; ++ch)
            wrong += folded.value().weight[at++] !=
                     source[((size_t(k) * c + ch) * row.r + r) * row.s + s];
    CHECK_EQ(wrong, 0);
    CHECK(folded.value().scale == std::vector<float>(size_t(row.k), 1.0f));
    CHECK(folded.value().shift == std::vector<float>(size_t(row.k), 0.0f));
  }
}

TEST("fold: norm and bias, in double and rounded once") {
  const int k = 50;
  const auto weights = formula(k, 3, 3, 3);
  const auto bias = readAll(*weights, "bias", k), gamma = readAll(*weights, "gamma", k),
             beta = readAll(*weights, "beta", k), mean = readAll(*weights, "mean", k),
             var = readAll(*weights, "var", k);
  ConvStep step = convOf(k, 3, 3, 1);
  step.bias = "bias";
  auto plain = foldConv(step, 3, *weights);
  CHECK(plain.ok() && plain.value().shift == bias &&
        plain.value().scale == std::vector<float>(k, 1.0f));
  step.norm = normNames(1e-3);
  auto folded = foldConv(step, 3, *weights);
  auto norm = foldNorm(*step.norm, k, *weights);
  CHECK(folded.ok() && norm.ok());
  if (!folded.ok() || !norm.ok()) return;
  for (size_t i = 0; i < size_t(k); ++i) {
    const double scale = gamma[i] / std::sqrt(double(var[i]) + 1e-3);
    CHECK_EQ(folded.value().scale[i], float(scale));
    CHECK_EQ(norm.value().scale[i], float(scale));
    CHECK_EQ(folded.value().shift[i], float((beta[i] - mean[i] * scale) + scale * bias[i]));
    CHECK_EQ(norm.value().shift[i], float(beta[i] - mean[i] * scale));
  }
}

TEST("fold: an absent weight is 1 and an absent bias 0") {
  const int k = 8;
  const auto weights = formula(k, 1, 1, 1);
  const auto mean = readAll(*weights, "mean", k), var = readAll(*weights, "var", k);
  NormNames names = normNames(1e-5);
  names.weight.clear();
  names.bias.clear();
  const auto norm = foldNorm(names, k, *weights);
  CHECK(norm.ok());
  if (!norm.ok()) return;
  for (size_t i = 0; i < size_t(k); ++i) {
    const double scale = 1 / std::sqrt(double(var[i]) + 1e-5);
    CHECK_EQ(norm.value().scale[i], float(scale));
    CHECK_EQ(norm.value().shift[i], float(-(mean[i] * scale)));
  }
}

TEST("fold: eps counts") {
  const auto weights = formula(4, 1, 1, 1);
  const auto a = foldNorm(normNames(1e-5), 4, *weights), b = foldNorm(normNames(1e-3), 4, *weights);
  CHECK(a.ok() && b.ok() && a.value().scale != b.value().scale);
}

std::shared_ptr<const Weights> withVariance(float value) {
  std::vector<float> numbers{1, value, 1};
  std::vector<OwnedTensor> tensors;
  for (const char* name : {"gamma", "beta", "mean", "var"}) {
    OwnedTensor& tensor = tensors.emplace_back();
    tensor.info.name = name;
    tensor.info.shape.push_back(3);
    tensor.bytes.resize(12);
    std::memcpy(tensor.bytes.data(), numbers.data(), 12);
  }
  return makeOwnedWeights(std::move(tensors));
}

TEST("fold: a variance that has no root is a mismatch, by tensor and channel") {
  for (float value : {-1.0f, -1e-5f, std::numeric_limits<float>::quiet_NaN(),
                      -std::numeric_limits<float>::infinity()}) {
    const auto norm = foldNorm(normNames(1e-6), 3, *withVariance(value));
    CHECK(!norm.ok() && norm.status().code == Code::kMismatch);
    CHECK_HAS(norm.status().message, "tensor \"var\"");
    CHECK_HAS(norm.status().message, "in channel 1");
  }
  CHECK(!foldNorm(normNames(0), 3, *withVariance(0)).ok());
  CHECK(foldNorm(normNames(1e-6), 3, *withVariance(0)).ok());
}

TEST("fold: missing parameters are named") {
  ConvStep step = convOf(4, 1, 1, 1);
  step.weight = "layer1.0.conv1.weight";
  const auto folded = foldConv(step, 1, *formula(4, 1, 1, 1));
  CHECK(!folded.ok() && folded.status().code == Code::kMismatch);
  CHECK_HAS(folded.status().message, "\"layer1.0.conv1.weight\"");
  step = convOf(4, 1, 1, 1);
  step.norm = normNames(1e-5);
  step.norm->var = "running_var";
  CHECK_HAS(foldConv(step, 1, *formula(4, 1, 1, 1)).status().message, "\"running_var\"");
  // A weight of another size than the step's.
  CHECK(!foldConv(convOf(4, 3, 3, 1), 1, *formula(4, 1, 1, 1)).ok());
}

// Hands out zeros: the time of the fold alone.
class ZeroWeights final : public Weights {
 public:
  const TensorInfo* find(std::string_view) const override { return nullptr; }
  Status read(std::string_view, float* destination, size_t count) const override {
    std::memset(destination, 0, count * sizeof(float));
    return Status::okay();
  }
};

TEST("fold: 25 million weights in a moment") {
  const ZeroWeights weights;
  const auto begin = std::chrono::steady_clock::now();
  size_t count = 0;
  for (int i = 0; i < 10; ++i) {
    const auto folded = foldConv(convOf(512, 3, 3, 1), 512, weights);
    CHECK(folded.ok());
    if (folded.ok()) count += folded.value().weight.size();
  }
  const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
  std::printf("  %.1f M weights of 3x3 kernels in %.1f ms\n", double(count) / 1e6, taken.count());
  CHECK(taken.count() < 5000);  // takes some 40 ms; a sanitizer on a busy machine, 1,000
}

}  // namespace

int main(int argc, char** argv) { return test::runCases(argc, argv); }
