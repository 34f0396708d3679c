// How far results are from what they should be.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace resnet::test {

// Greatest difference relative to the reference's greatest value; infinity where one is not finite.
inline double difference(const std::vector<float>& got, const std::vector<float>& expected) {
  double largest = 0, worst = 0;
  for (float value : expected) largest = std::max(largest, std::abs(double(value)));
  for (size_t i = 0; i < expected.size(); ++i) {
    const double away = std::abs(double(got[i]) - double(expected[i]));
    if (!(away <= worst)) worst = away;
  }
  return got.size() == expected.size() && std::isfinite(worst)
             ? worst / largest
             : std::numeric_limits<double>::infinity();
}

}  // namespace resnet::test
