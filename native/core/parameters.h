// A plan's parameters against the weights that are to fill them: checked once, before any backend reads a tensor.
#pragma once

#include "core/plan.h"
#include "core/status.h"
#include "core/weights.h"

namespace resnet {

// Every missing and every mis-shaped parameter in one kMismatch (the first ten by name, the rest counted).
Status checkParameters(const Plan& plan, const Weights& weights);

}  // namespace resnet
