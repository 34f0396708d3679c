// What a step must do at least: counted from the plan, the same for every backend.
#pragma once

#include "core/plan.h"

namespace resnet {

struct StepCost {
  double flop = 0;         // per image; a multiply-add counts 2
  double bytes = 0;        // per image, each tensor once at its dtype, weights included
  double weightBytes = 0;  // of these the weights', in float32: once for a batch
};

StepCost stepCost(const Plan& plan, const Step& step);

}  // namespace resnet
