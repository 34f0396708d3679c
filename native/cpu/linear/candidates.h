// The way to run a linear step on the CPU.
#pragma once

#include "cpu/kernel.h"

namespace resnet::cpu {

const Candidate& linearCandidate();

}  // namespace resnet::cpu
