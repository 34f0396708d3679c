// Reads a conv or norm step's parameters and folds them: what every packing starts from.
#pragma once

#include <string>
#include <vector>

#include "core/plan.h"
#include "core/weights.h"

namespace resnet {

struct FoldedConv {
  std::vector<float> weight;  // [K][R][S][C/groups]
  std::vector<float> scale;   // [K]; ones without a norm
  std::vector<float> shift;   // [K]; norm's shift + scale * bias
};
struct FoldedNorm {
  std::vector<float> scale, shift;  // [C]
};

//   scale = weight / sqrt(var + eps), shift = bias - mean * scale   (Ioffe & Szegedy 2015; in
//   double, rounded once)
Result<FoldedConv> foldConv(const ConvStep& step, int channels, const Weights& weights);
Result<FoldedNorm> foldNorm(const NormNames& norm, int channels, const Weights& weights);

// Names everything that packing a conv step reads; `form` names the packed layout and its device.
std::string packingKey(const std::string& form, const ConvStep& step, int channels);

// A linear step is a 1x1 convolution of a 1x1 map without a norm.
ConvStep asConv(const LinearStep& step);

}  // namespace resnet
