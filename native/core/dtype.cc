#include "core/dtype.h"

#include <bit>
#include <cstring>

namespace resnet {

static_assert(std::endian::native == std::endian::little, "tensors are read as little endian");

namespace {

// Without branches, so that a loop over it becomes vector code. Neither side of the subtraction
// that normalises a half's denormals is a denormal itself: the result does not depend on FTZ or
// DAZ.
inline float halfToFloat(uint16_t bits) {
  const uint32_t magnitude = uint32_t(bits & 0x7FFFu) << 13;
  const uint32_t exponent = magnitude & 0x0F800000u;
  uint32_t normal = magnitude + (112u << 23);
  normal += exponent == 0x0F800000u ? 112u << 23 : 0u;  // infinity and NaN
  const float denormal =
      std::bit_cast<float>(magnitude + (113u << 23)) - std::bit_cast<float>(113u << 23);
  const uint32_t value = exponent == 0 ? std::bit_cast<uint32_t>(denormal) : normal;
  return std::bit_cast<float>(value | uint32_t(bits & 0x8000u) << 16);
}

}  // namespace

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

float float16ToFloat32(uint16_t bits) { return halfToFloat(bits); }

float bfloat16ToFloat32(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

void convertToFloat32(DType dtype, const void* source, size_t count, float* destination) {
  if (dtype == DType::kFloat32) {
    if (count > 0) std::memcpy(destination, source, count * sizeof(float));
    return;
  }
  const auto* bytes = static_cast<const uint8_t*>(source);
  for (size_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, bytes + 2 * i, sizeof bits);
    destination[i] = dtype == DType::kFloat16 ? halfToFloat(bits) : bfloat16ToFloat32(bits);
  }
}

}  // namespace resnet
