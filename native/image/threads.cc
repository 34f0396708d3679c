#include "image/threads.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "cpu/thread_pool.h"

namespace resnet::image {

Result<int> threadCount() {
  const char* variable = std::getenv("RESNET_IMAGE_THREADS");
  const std::string_view text = variable == nullptr ? "" : variable;
  if (text.empty()) return cpu::threadBudget().threads;
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count < 1 ||
      count > kMostThreads) {
    return Status::error(Code::kInvalidArgument,
                         "environment variable RESNET_IMAGE_THREADS: expected a number from 1 to "
                         "1024, received '" +
                             std::string(text) + "'");
  }
  return count;
}

}  // namespace resnet::image
