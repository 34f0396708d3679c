// What a device can do at most: what shares of the roofline are taken against.
#pragma once

#include <string>

#include "core/device.h"
#include "core/plan.h"

namespace resnet::cuda {

// Theoretical ones, from the attributes of the CUDA device: memory clock x bus width, and SMs x clock x what
// an SM of its generation multiplies in a clock. Zeros and a reason where the driver does not say.
Ceilings theoreticalCeilings(int device, int capability);

// Replaces those that a results file of a card of this name has measured: JSON with `card.name` and a list
// `ceilings` of { name: 'device copy' or 'matrix float16', value, unit }. RESNET_DEVICE_CEILINGS names the file.
void readMeasuredCeilings(const std::string& cardName, Ceilings& ceilings);

// The least milliseconds of a step of `images` images: the larger of its bytes by the copy rate, weights once
// in `packed`'s width, and its FLOP by the arithmetic rate of its input's dtype. 0: a ceiling is not known.
double leastMilliseconds(const Plan& plan, const Step& step, int images, bool tf32,
                         const Ceilings& ceilings);

}  // namespace resnet::cuda
