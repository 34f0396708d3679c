#include "core/shape.h"

namespace resnet {

std::optional<uint64_t> elementCount(const std::vector<int64_t>& shape) {
  uint64_t count = 1;
  bool overflow = false;
  for (const int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    // A later zero makes the product zero, but a file that asks for such a shape is refused all the
    // same.
    if (extent != 0 && count > UINT64_MAX / uint64_t(extent)) overflow = true;
    count *= uint64_t(extent);
  }
  if (overflow) return std::nullopt;
  return count;
}

std::string shapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t extent : shape) {
    if (text.size() > 1) text += ',';
    if (text.size() > 60) {
      text += "...";
      break;
    }
    text += std::to_string(extent);
  }
  text += ']';
  return text;
}

}  // namespace resnet
