// The list: every way to run each step kind on the CPU, in order of preference.
#include "cpu/conv/candidates.h"
#include "cpu/kernel.h"
#include "cpu/linear/candidates.h"
#include "cpu/steps/candidates.h"

namespace resnet::cpu {

const std::vector<const Candidate*>& candidatesFor(StepKind kind) {
  using List = std::vector<const Candidate*>;
  static const List conv{&thinConv(), &winogradF4(), &winogradF2(), &directConv()};
  static const List maxPool{&maxPoolCandidate()};
  static const List avgPool{&avgPoolCandidate()};
  static const List globalAvgPool{&globalAvgPoolCandidate()};
  static const List linear{&linearCandidate()};
  static const List affine{&affineCandidate()};
  static const List add{&addCandidate()};
  static const List activation{&activationCandidate()};
  static const List softmax{&softmaxCandidate()};
  static const List topK{&topKCandidate()};
  static const List input{&inputCandidate()};
  static const List output{&outputCandidate()};
  switch (kind) {
    case StepKind::kConv:
      return conv;
    case StepKind::kMaxPool:
      return maxPool;
    case StepKind::kAvgPool:
      return avgPool;
    case StepKind::kGlobalAvgPool:
      return globalAvgPool;
    case StepKind::kLinear:
      return linear;
    case StepKind::kAffine:
      return affine;
    case StepKind::kAdd:
      return add;
    case StepKind::kActivation:
      return activation;
    case StepKind::kSoftmax:
      return softmax;
    case StepKind::kTopK:
      return topK;
    case StepKind::kInput:
      return input;
    case StepKind::kOutput:
      break;
  }
  return output;
}

}  // namespace resnet::cpu
