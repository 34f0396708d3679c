#include "core/fold.h"

#include <cmath>
#include <cstdio>
#include <cstring>

#include "core/json.h"

namespace resnet {

namespace {

// A parameter of one number per channel; `absent` where the step names none.
Status readVector(const Weights& weights, const std::string& name, int channels, float absent,
                  std::vector<float>* out) {
  out->assign(size_t(channels), absent);
  return name.empty() ? Status::okay() : weights.read(name, out->data(), out->size());
}

// [C][taps] to [taps][C], one filter; the taps known at compile time make the reads' stride a
// constant.
template <int kTaps>
void transposeFilter(const float* from, int channels, int taps, float* to) {
  if (kTaps > 0) taps = kTaps;
  for (int tap = 0; tap < taps; ++tap)
    for (int c = 0; c < channels; ++c)
      to[size_t(tap) * channels + c] = from[size_t(c) * taps + tap];
}

// KCRS to KRSC filter by filter, in place: a filter (some KB) stays in the first-level cache, and
// no second copy of the tensor is held.
void toKrsc(int k, int channels, int taps, std::vector<float>* weight) {
  if (taps == 1 || channels == 1) return;  // the same order in memory
  const auto transpose = taps == 9    ? transposeFilter<9>
                         : taps == 49 ? transposeFilter<49>
                         : taps == 25 ? transposeFilter<25>
                                      : transposeFilter<0>;
  std::vector<float> filter(size_t(channels) * taps);
  for (int i = 0; i < k; ++i) {
    float* at = weight->data() + size_t(i) * filter.size();
    filter.assign(at, at + filter.size());
    transpose(filter.data(), channels, taps, at);
  }
}

struct Fold {
  std::vector<double> scale, shift;
};

Result<Fold> foldInDouble(const NormNames& norm, int channels, const Weights& weights) {
  std::vector<float> weight, bias, mean, var;
  RESNET_RETURN_IF_ERROR(readVector(weights, norm.weight, channels, 1, &weight));
  RESNET_RETURN_IF_ERROR(readVector(weights, norm.bias, channels, 0, &bias));
  RESNET_RETURN_IF_ERROR(readVector(weights, norm.mean, channels, 0, &mean));
  RESNET_RETURN_IF_ERROR(readVector(weights, norm.var, channels, 1, &var));
  Fold fold{std::vector<double>(var.size()), std::vector<double>(var.size())};
  for (size_t c = 0; c < var.size(); ++c) {
    const double spread = double(var[c]) + norm.eps;
    if (!(spread > 0)) {
      char text[96];
      std::snprintf(text, sizeof text, "%.9g in channel %zu, eps %.9g", double(var[c]), c,
                    norm.eps);
      return Status::error(Code::kMismatch,
                           "tensor " + json::quote(norm.var) +
                               " must have variances that with eps are above 0, got " + text);
    }
    fold.scale[c] = double(weight[c]) / std::sqrt(spread);
    fold.shift[c] = double(bias[c]) - double(mean[c]) * fold.scale[c];
  }
  return fold;
}

std::vector<float> rounded(const std::vector<double>& numbers) {
  return {numbers.begin(), numbers.end()};
}

}  // namespace

Result<FoldedNorm> foldNorm(const NormNames& norm, int channels, const Weights& weights) {
  Result<Fold> fold = foldInDouble(norm, channels, weights);
  if (!fold.ok()) return fold.takeStatus();
  return FoldedNorm{rounded(fold.value().scale), rounded(fold.value().shift)};
}

Result<FoldedConv> foldConv(const ConvStep& step, int channels, const Weights& weights) {
  const int groupChannels = channels / step.groups;
  const int taps = step.kernel.h * step.kernel.w;
  FoldedConv folded;
  folded.weight.resize(size_t(step.k) * groupChannels * taps);
  RESNET_RETURN_IF_ERROR(weights.read(step.weight, folded.weight.data(), folded.weight.size()));
  toKrsc(step.k, groupChannels, taps, &folded.weight);

  std::vector<float> bias;
  RESNET_RETURN_IF_ERROR(readVector(weights, step.bias, step.k, 0, &bias));
  if (!step.norm) {
    folded.scale.assign(bias.size(), 1.0f);
    folded.shift = std::move(bias);
    return folded;
  }
  Result<Fold> fold = foldInDouble(*step.norm, step.k, weights);
  if (!fold.ok()) return fold.takeStatus();
  Fold& norm = fold.value();
  for (size_t k = 0; k < bias.size(); ++k) norm.shift[k] += norm.scale[k] * double(bias[k]);
  folded.scale = rounded(norm.scale);
  folded.shift = rounded(norm.shift);
  return folded;
}

std::string packingKey(const std::string& form, const ConvStep& step, int channels) {
  std::string key = form;
  auto add = [&key](const std::string& part) {
    key += '\n';
    key += part;
  };
  for (int number : {step.k, channels, step.groups, step.kernel.h, step.kernel.w}) {
    add(std::to_string(number));
  }
  add(step.weight);
  add(step.bias);
  if (step.norm) {
    add(step.norm->weight);
    add(step.norm->bias);
    add(step.norm->mean);
    add(step.norm->var);
    uint64_t bits;
    std::memcpy(&bits, &step.norm->eps, sizeof bits);
    add(std::to_string(bits));
  }
  return key;
}

ConvStep asConv(const LinearStep& step) {
  ConvStep conv;
  conv.input = step.input;
  conv.output = step.output;
  conv.k = step.k;
  conv.weight = step.weight;
  conv.bias = step.bias;
  return conv;
}

}  // namespace resnet
