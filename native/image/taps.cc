#include "image/taps.h"

#include <algorithm>
#include <cmath>

namespace resnet::image {
namespace {

double supportOf(Filter filter) { return filter == Filter::kBilinear ? 1.0 : 2.0; }

double weightAt(Filter filter, double x) {
  const double t = std::fabs(x);
  if (filter == Filter::kBilinear) return t < 1.0 ? 1.0 - t : 0.0;
  constexpr double a = -0.5;
  if (t < 1.0) return ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
  return t < 2.0 ? (((t - 5.0) * t + 8.0) * t - 4.0) * a : 0.0;
}

int32_t fixedPoint(double weight) {
  const double scaled = weight * double(1 << kPrecision);
  return int32_t(weight < 0 ? scaled - 0.5 : scaled + 0.5);
}

}  // namespace

Taps makeTaps(const Axis& axis, Filter filter) {
  Taps taps;
  const double scale = axis.extent / axis.resized;
  const double widened = std::max(scale, 1.0);
  const double support = supportOf(filter) * widened;
  const double narrowed = 1.0 / widened;
  taps.identity = axis.extent == axis.resized;
  taps.stride = ((int(std::ceil(support)) * 2 + 1) + kTapGroup - 1) / kTapGroup * kTapGroup;
  const auto length = size_t(axis.length);
  taps.first.resize(length);
  taps.count.resize(length);
  taps.weights.assign(length * size_t(taps.stride), 0);
  taps.begin = axis.size;
  std::vector<double> exact(size_t(taps.stride));
  for (size_t i = 0; i < length; ++i) {
    if (taps.identity) {
      taps.first[i] = axis.from + int(i);
      taps.count[i] = 1;
      taps.weights[i * size_t(taps.stride)] = 1 << kPrecision;
      continue;
    }
    const double centre = (double(axis.from) + double(i) + 0.5) * scale;
    const int begin = std::max(int(centre - support + 0.5), 0);
    const int end = std::min(int(centre + support + 0.5), axis.size);
    const int count = std::max(end - begin, 0);
    double sum = 0.0;
    for (int n = 0; n < count; ++n) {
      exact[size_t(n)] = weightAt(filter, (n + begin - centre + 0.5) * narrowed);
      sum += exact[size_t(n)];
    }
    int32_t* weights = taps.weights.data() + i * size_t(taps.stride);
    for (int n = 0; n < count; ++n) {
      weights[n] = fixedPoint(sum != 0.0 ? exact[size_t(n)] / sum : exact[size_t(n)]);
    }
    taps.first[i] = begin;
    taps.count[i] = count;
  }
  for (size_t i = 0; i < length; ++i) {
    taps.begin = std::min(taps.begin, taps.first[i]);
    taps.end = std::max(taps.end, taps.first[i] + taps.count[i]);
    taps.maxCount = std::max(taps.maxCount, taps.count[i]);
  }
  return taps;
}

}  // namespace resnet::image
