// Instruction-set tiers and what the host has.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace resnet::cpu {

enum class Isa { kPortable, kAvx2, kAvx512 };  // avx2: AVX2 + FMA; avx512: F, DQ, BW, VL

const char* isaName(Isa isa);
std::optional<Isa> parseIsa(std::string_view name);

struct IsaSupport {
  Isa isa;
  bool supported;
  std::string reason;  // "has avx512f dq bw vl" or "no avx512f"
};
const std::vector<IsaSupport>&
hostIsas();  // in rising order; the operating system's register saving is checked too

// `requested` if not empty, else RESNET_ISA if set and not empty, else the best. kInvalidArgument
// for an unknown name, kUnavailable for a tier that the host lacks.
Result<Isa> chooseIsa(std::string_view requested);

std::string cpuModelName();

}  // namespace resnet::cpu
