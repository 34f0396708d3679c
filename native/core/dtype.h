// Element types of tensors and values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace resnet {

enum class DType { kFloat32, kFloat16, kBFloat16, kUint8, kInt32 };

size_t dtypeBytes(DType dtype);
const char* dtypeName(DType dtype);  // "float32", "float16", "bfloat16", "uint8", "int32"
inline bool isFloat(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}
std::optional<DType> parseDType(std::string_view name);

// IEEE half and bfloat16 bits to float32, exact; denormals included whatever the FTZ/DAZ mode.
float float16ToFloat32(uint16_t bits);
float bfloat16ToFloat32(uint16_t bits);

// `count` little-endian elements at `source`, of any alignment, to float32. Only the three float dtypes.
void convertToFloat32(DType dtype, const void* source, size_t count, float* destination);

}  // namespace resnet
