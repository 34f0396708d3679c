// Shapes of foreign origin: element counts that cannot overflow, and their text for messages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace resnet {

// The product of the extents; nothing when one is negative or the product passes 64 bits.
std::optional<uint64_t> elementCount(const std::vector<int64_t>& shape);

// "[64,3,7,7]", cut after some 60 characters.
std::string shapeText(const std::vector<int64_t>& shape);

}  // namespace resnet
