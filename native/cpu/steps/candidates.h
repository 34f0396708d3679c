// The steps around convolutions: all memory-bound, plain C++ that the compiler vectorises, on every
// tier.
#pragma once

#include "cpu/kernel.h"

namespace resnet::cpu {

const Candidate& inputCandidate();
const Candidate& outputCandidate();
const Candidate& maxPoolCandidate();
const Candidate& avgPoolCandidate();
const Candidate& globalAvgPoolCandidate();
const Candidate& affineCandidate();
const Candidate& addCandidate();
const Candidate& activationCandidate();
const Candidate& softmaxCandidate();
const Candidate& topKCandidate();

}  // namespace resnet::cpu
