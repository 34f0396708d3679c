#include "core/roofline.h"

namespace resnet {
namespace {

double elements(const ValueInfo& value) { return double(value.h) * value.w * value.c; }

}  // namespace

StepCost stepCost(const Plan& plan, const Step& step) {
  StepCost cost;
  for (ValueId v : stepInputs(step)) {
    cost.bytes += elements(plan.values[v]) * double(dtypeBytes(plan.values[v].dtype));
  }
  for (ValueId v : stepOutputs(step)) {
    cost.bytes += elements(plan.values[v]) * double(dtypeBytes(plan.values[v].dtype));
  }
  if (const auto* conv = std::get_if<ConvStep>(&step.body)) {
    const double perOutput =
        double(plan.values[conv->input].c) / conv->groups * conv->kernel.h * conv->kernel.w;
    cost.flop = 2 * elements(plan.values[conv->output]) * perOutput;
    cost.weightBytes = double(sizeof(float)) * conv->k * (perOutput + 2);
  } else if (const auto* linear = std::get_if<LinearStep>(&step.body)) {
    const double channels = plan.values[linear->input].c;
    cost.flop = 2 * channels * linear->k;
    cost.weightBytes = double(sizeof(float)) * linear->k * (channels + 1);
  } else if (const auto* pool = std::get_if<PoolStep>(&step.body)) {
    cost.flop = elements(plan.values[pool->output]) * pool->kernel.h * pool->kernel.w;
  } else if (step.kind != StepKind::kInput && step.kind != StepKind::kOutput) {
    for (ValueId v : stepInputs(step)) cost.flop += elements(plan.values[v]);
  }
  cost.bytes += cost.weightBytes;
  return cost;
}

}  // namespace resnet
