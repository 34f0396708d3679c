// Checkpoints in memory for tests.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace resnet::test {

// The header's length, the header, the data.
inline std::vector<uint8_t> safetensors(std::string_view header, const std::vector<uint8_t>& data) {
  std::vector<uint8_t> bytes(8 + header.size() + data.size());
  for (size_t i = 0; i < 8; ++i) bytes[i] = uint8_t(uint64_t(header.size()) >> (8 * i));
  std::copy(header.begin(), header.end(), bytes.begin() + 8);
  std::copy(data.begin(), data.end(), bytes.end() - ptrdiff_t(data.size()));
  return bytes;
}

}  // namespace resnet::test
