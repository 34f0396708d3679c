// What the simulated device has to report: nothing, unless a test provokes it.
#pragma once

#include <string>

#include "test/cuda/simulated/control.h"

namespace resnet::test {

inline std::string leaks() {
  char text[4096] = "";
  return resnetSimulatedLeaks(text, sizeof text) == 0 ? "" : text;
}

inline std::string violations() {
  char text[4096] = "";
  resnetSimulatedViolations(text, sizeof text);
  return text;
}

}  // namespace resnet::test
