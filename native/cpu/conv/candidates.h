// The ways to run a conv step on the CPU.
#pragma once

#include "cpu/kernel.h"

namespace resnet::cpu {

inline const ConvStep& convOf(const StepQuery& query) {
  return std::get<ConvStep>(query.step.body);
}

const Candidate& directConv();  // any conv on a blocked value
const Candidate& thinConv();    // C <= 4, undilated columns, groups 1: reads a thin value
// 3x3 at stride 1; refuse() also weighs whether it is faster than directConv.
const Candidate& winogradF4();
const Candidate& winogradF2();

// Why Winograd cannot run this step at all, whatever its speed; empty: it can.
std::string winogradShapeRefusal(const StepQuery& query);

}  // namespace resnet::cpu
