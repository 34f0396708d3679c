// The ways to run a conv step on the CPU.
#pragma once

#include "cpu/kernel.h"

namespace resnet::cpu {

const Candidate& directConv();  // any conv on a blocked value
const Candidate& thinConv();    // C <= 4, undilated columns, groups 1: reads a thin value

}  // namespace resnet::cpu
