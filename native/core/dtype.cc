#include "core/dtype.h"

#include <bit>

namespace resnet {

size_t dtypeBytes(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kFloat16:
    case DType::kBFloat16:
      return 2;
    case DType::kUint8:
      return 1;
  }
  return 0;
}

const char* dtypeName(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kFloat16:
      return "float16";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kUint8:
      return "uint8";
    case DType::kInt32:
      return "int32";
  }
  return "?";
}

std::optional<DType> parseDType(std::string_view name) {
  for (DType dtype :
       {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kUint8, DType::kInt32})
    if (name == dtypeName(dtype)) return dtype;
  return std::nullopt;
}

float float16ToFloat32(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16;
  uint32_t exponent = (bits >> 10) & 0x1Fu;
  uint32_t mantissa = bits & 0x3FFu;
  if (exponent == 0) {
    if (mantissa == 0) return std::bit_cast<float>(sign);
    // A denormal half is a normal float. Integer arithmetic: a multiply would depend on FTZ/DAZ.
    const int shift = std::countl_zero(mantissa) - 21;
    mantissa = (mantissa << shift) & 0x3FFu;
    exponent = uint32_t(1 - shift);
  } else if (exponent == 0x1F) {
    return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

float bfloat16ToFloat32(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

}  // namespace resnet
