// This machine's own ceilings, measured: what multiply-adds and memory copies reach at best, so that
// a network's time can be told as a share of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/control.h"
#include "core/status.h"

namespace resnet::cpu {

struct Limit {
  std::string name;  // "float32 multiply-add, 512-bit"
  double value = 0;
  const char* unit = "";  // "GFLOP/s float32", "GFLOP/s bfloat16", "GOP/s int8", "GB/s"
  int threads = 1;
};

// One loop of arithmetic in registers: `operations` per turn, a multiply-add counts 2.
struct LimitLoop {
  const char* name;
  const char* unit;
  double operations;
  void (*run)(int64_t turns);
};

// Each file appends the loops of its tier that the host can run.
void appendPortableLoops(std::vector<LimitLoop>& loops);
void appendAvx2Loops(std::vector<LimitLoop>& loops);
void appendAvx512Loops(std::vector<LimitLoop>& loops);
void appendAmxLoops(std::vector<LimitLoop>& loops);

// On `threads` threads of its own, some tenths of a second a figure; the machine should be idle.
Result<std::vector<Limit>> measureLimits(int threads, const Control& control);

}  // namespace resnet::cpu
