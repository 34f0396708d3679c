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

// The kinds of tile products (AMX) of the host whose registers the operating system saves. They are no tier: a process has
// to ask for them first.
struct TileUnits {
  bool bfloat16 = false, int8 = false;
};
TileUnits hostTileUnits();

// What one core of the host does in a cycle with that tier, for models of time: float32 multiply-adds, and bytes that a
// stream from beyond L2 brings. By the processor's kind and not measured, so that two runs choose the same kernels.
struct Balance {
  double multiplyAdds, streamedBytes;
};
Balance hostBalance(Isa isa);

std::string cpuModelName();

}  // namespace resnet::cpu
