#include "core/parameters.h"

#include <string>

namespace resnet {
namespace {

std::string shapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (int64_t size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

}  // namespace

Status checkParameters(const Plan& plan, const Weights& weights) {
  constexpr int kMostNamed = 10;
  int wrong = 0;
  std::string list;
  for (const ParameterInfo& parameter : plan.parameters) {
    const TensorInfo* found = weights.find(parameter.name);
    if (found != nullptr && found->shape == parameter.shape) continue;
    if (++wrong > kMostNamed) continue;
    list += (wrong > 1 ? "; '" : "'") + parameter.name + "' " + shapeText(parameter.shape) +
            (found == nullptr ? " is missing" : " has shape " + shapeText(found->shape));
  }
  if (wrong == 0) return Status::okay();
  if (wrong > kMostNamed) list += "; and " + std::to_string(wrong - kMostNamed) + " more";
  return Status::error(Code::kMismatch, "the weights do not fit the plan: " + list);
}

}  // namespace resnet
