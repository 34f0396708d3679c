// Plans as lib/graph writes them, with parameters by formula whose scale suits their names.
#pragma once

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <variant>

#include "test/cuda/plugin_harness.h"

namespace resnet::test {

inline std::vector<FormulaTensor> formulasFor(const Plan& plan) {
  std::vector<FormulaTensor> tensors;
  const auto add = [&](const std::string& name, float lo, float hi) {
    for (const ParameterInfo& parameter : plan.parameters)
      if (parameter.name == name) tensors.push_back({name, parameter.shape, lo, hi});
  };
  for (const Step& step : plan.steps) {
    if (const auto* conv = std::get_if<ConvStep>(&step.body)) {
      const int fan =
          plan.values[size_t(conv->input)].c / conv->groups * conv->kernel.h * conv->kernel.w;
      // He's bound keeps the scale through a layer; what a residual adds to is kept small.
      const float bound = std::sqrt(6.0f / float(fan)),
                  gain = conv->residual != kNoValue ? 0.3f : 0.8f;
      add(conv->weight, -bound, bound);
      if (!conv->norm) continue;
      add(conv->norm->weight, gain * 0.6f, gain);
      add(conv->norm->bias, -0.2f, 0.3f);
      add(conv->norm->mean, -0.2f, 0.2f);
      add(conv->norm->var, 0.5f, 1.5f);
    } else if (const auto* linear = std::get_if<LinearStep>(&step.body)) {
      add(linear->weight, -0.3f, 0.3f);
      add(linear->bias, -1, 1);
    }
  }
  return tensors;
}

inline Result<Plan> readPlan(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return parsePlan(text.str());
}

// The same plan with what it computes in `dtype`: logits, and what follows them, stay float32.
inline Plan withDType(Plan plan, DType dtype) {
  std::vector<bool> narrow(plan.values.size(), true);
  for (const Step& step : plan.steps) {
    const bool wide = step.kind == StepKind::kLinear || step.kind == StepKind::kSoftmax ||
                      step.kind == StepKind::kTopK;
    for (ValueId v : stepOutputs(step)) narrow[size_t(v)] = !wide;
  }
  for (size_t v = 0; v < plan.values.size(); ++v)
    if (narrow[v] && plan.values[v].dtype == DType::kFloat32) plan.values[v].dtype = dtype;
  return plan;
}

}  // namespace resnet::test
