// Op cases on maps that the common table has not: what only a launch function can be asked for.
#pragma once

#include "row_cases.h"

namespace resnet::test {

inline void addMapCases(std::vector<OpCase>& list) {
  // An average with dilation, which no plan has.
  for (Shape in : {Shape{2, 9, 7, 16}, Shape{3, 5, 12, 3}, Shape{1, 6, 6, 37}}) {
    for (const PoolStep& dilated : {window({2, 3}, {1, 2}, {1, 0}, {2, 1}, false),
                                    window({3, 2}, {2, 3}, {1, 1}, {1, 2}, true)})
      addMapRow(list, poolRow(StepKind::kAvgPool, in, dilated));
  }
  // More images than a grid's second dimension has blocks.
  const Shape many{65600, 1, 1, 2};
  addMapRow(list, {.kind = StepKind::kActivation, .in = many, .out = many});
  // In place.
  const Shape s{2, 3, 5, 21};
  for (DType dtype : kFloats) {
    for (const char* op : {"add", "affine", "relu"}) {
      list.push_back(
          {op, std::string(op) + " in place " + dtypeName(dtype),
           [=, name = std::string(op)](const Ops& ops, Report& report) {
             const Placement padded = Placement::kPadded;
             Value a(s, dtype, padded), b(s, dtype, padded), before(s, dtype, padded);
             a.fill(filled(s, Content::kPlain, 3));
             before.fill(filled(s, Content::kPlain, 3));
             b.fill(filled(s, Content::kPlain, 4));
             const auto ones = floats(s.c, 1, 1, 1);
             const float* const one = ones->as<float>();
             succeeded(report, name == "add" ? ops.add(a.view, b.view, a.view, true, nullptr)
                               : name == "relu"
                                   ? ops.relu(a.view, a.view, nullptr)
                                   : ops.affine(a.view, a.view, one, one, true, nullptr));
             a.check(
                 report,
                 [&](int n, int y, int x, int c) {
                   const double other = name == "add" ? b.get(n, y, x, c) : name == "relu" ? 0 : 1;
                   return clipped(before.get(n, y, x, c) + other, true);
                 },
                 toleranceOf(dtype));
           }});
    }
  }
}

}  // namespace resnet::test
