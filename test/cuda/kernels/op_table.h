// The table of op cases of the kernels: the rows that the CPU's tiers are run on too, and what only our kernels do.
// kernels_test.cc runs it on the kernels emulated, device_kernels_test.cc on a device, mutants_test.cc on kernels with one
// fault each.
#pragma once

#include "map_cases.h"
#include "op_case.h"
#include "resize_cases.h"
#include "row_cases.h"

namespace resnet::test {

inline void addPackWeights(std::vector<OpCase>& list) {
  struct Row {
    int k, c, r, s, toK, pitch;
  };
  for (Row row : {Row{5, 3, 3, 2, 8, 8}, Row{16, 12, 1, 1, 16, 16}, Row{3, 3, 7, 7, 3, 4},
                  Row{10, 37, 1, 1, 16, 40}}) {
    for (DType dtype : kFloats) {
      for (bool scaled : {true, false}) {
        list.push_back({"packWeights",
                        std::string("packWeights ") + dtypeName(dtype) + " k" +
                            std::to_string(row.k) + " c" + std::to_string(row.c) + " r" +
                            std::to_string(row.r) + " to k" + std::to_string(row.toK) + " c" +
                            std::to_string(row.pitch) + (scaled ? " scaled" : ""),
                        [=](const Ops& ops, Report& report) {
                          const auto weight = floats(row.k * row.r * row.s * row.c, 2, -1, 1),
                                     scale = floats(row.k, 3, -2, 2);
                          Value to({row.toK, row.r, row.s, row.pitch}, dtype, Placement::kDense);
                          cuda::PackArguments arguments;
                          arguments.weight = weight->as<float>();
                          arguments.scale = scaled ? scale->as<float>() : nullptr;
                          arguments.k = row.k;
                          arguments.c = row.c;
                          arguments.to = to.view;
                          succeeded(report, ops.packWeights(arguments, nullptr));
                          to.check(
                              report,
                              [&](int k, int r, int s, int c) -> double {
                                if (k >= row.k || c >= row.c) return 0;
                                const size_t i = ((size_t(k) * row.r + r) * row.s + s) * row.c + c;
                                return double(weight->as<float>()[i]) *
                                       (scaled ? scale->as<float>()[k] : 1);
                              },
                              toleranceOf(dtype));
                        }});
      }
    }
  }
}

inline std::vector<OpCase> opCases() {
  std::vector<OpCase> list;
  for (const OpRow& row : opRows()) addRow(list, row);
  addMapCases(list);
  addPackWeights(list);
  addResizes(list);
  return list;
}

}  // namespace resnet::test
