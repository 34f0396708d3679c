// Mutants of a plan that has every kind of step: each is refused as an invalid argument, or what backends
// rely on without looking holds.
#include "core/plan.h"

#include <cmath>
#include <set>

#include "core/roofline.h"
#include "fuzz/mutate.h"
#include "plan_text.h"

namespace {

using namespace resnet;
using fuzz::demand;
using fuzz::Random;

void checkRefusal(const Status& status) {
  demand(status.code == Code::kInvalidArgument, "a refusal has another code:", status.message);
  demand(!status.message.empty() && status.message.size() < 2000,
         "a refusal without a proper message:", status.message);
}

void checkAccepted(const Plan& plan) {
  std::set<std::string> parameters;
  for (const ParameterInfo& parameter : plan.parameters)
    demand(parameters.insert(parameter.name).second, "a parameter twice:", parameter.name);
  for (const ValueInfo& value : plan.values) {
    demand(value.h >= 1 && value.w >= 1 && value.c >= 1, "an empty value:", value.name);
    demand(int64_t(value.h) * value.w <= kMaxElements / value.c, "a value too large:", value.name);
  }
  std::vector<bool> written(plan.values.size());
  int inputs = 0;
  for (const Step& step : plan.steps) {
    for (ValueId id : stepInputs(step)) {
      demand(id >= 0 && size_t(id) < written.size(), "an id out of range:", step.name);
      demand(written[size_t(id)], "a value read before it is written:", step.name);
    }
    for (ValueId id : stepOutputs(step)) {
      demand(id >= 0 && size_t(id) < written.size(), "an id out of range:", step.name);
      demand(!written[size_t(id)], "a value written twice:", step.name);
      written[size_t(id)] = true;
    }
    if (const auto* conv = std::get_if<ConvStep>(&step.body)) {
      const ValueInfo &in = plan.values[size_t(conv->input)],
                      &out = plan.values[size_t(conv->output)];
      demand(conv->groups >= 1 && in.c % conv->groups == 0 && conv->k % conv->groups == 0,
             "groups:", step.name);
      // The last row's window ends within the padded input.
      demand(
          (int64_t(out.h) - 1) * conv->stride.h + int64_t(conv->dilation.h) * (conv->kernel.h - 1) <
              in.h + 2 * int64_t(conv->padding.h),
          "a window outside the input:", step.name);
      demand(parameters.count(conv->weight) == 1, "a weight that is not listed:", step.name);
    }
    if (const auto* input = std::get_if<InputStep>(&step.body)) {
      ++inputs;
      demand(input->index >= 0 && input->index < plan.inputs, "an input's index:", step.name);
    }
    const StepCost cost = stepCost(plan, step);
    demand(std::isfinite(cost.flop) && cost.flop >= 0 && cost.bytes > 0,
           "a step's cost:", step.name);
  }
  demand(inputs == plan.inputs, "the count of inputs");
}

bool run(Random& random) {
  std::string text = test::kPlan;
  for (size_t n = random.below(4); n > 0; --n) fuzz::mutateJson(&text, random);
  if (random.oneIn(32)) text.resize(random.below(text.size() + 1));
  const auto plan = parsePlan(text);
  if (plan.ok())
    checkAccepted(plan.value());
  else
    checkRefusal(plan.status());
  return plan.ok();
}

}  // namespace

int main(int argc, char** argv) { return fuzz::runAll(argc, argv, run); }
