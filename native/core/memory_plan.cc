#include "core/memory_plan.h"

#include <algorithm>
#include <numeric>

namespace resnet {

MemoryPlan planMemory(const std::vector<BufferRequest>& requests, size_t alignment) {
  MemoryPlan plan;
  plan.offsets.assign(requests.size(), 0);
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return requests[a].bytes > requests[b].bytes; });

  auto roundUp = [&](size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; };
  std::vector<size_t> placed;  // by rising offset
  for (size_t index : order) {
    const BufferRequest& request = requests[index];
    const size_t bytes = roundUp(request.bytes);
    if (bytes == 0) continue;
    size_t offset = 0;
    for (size_t other : placed) {
      const BufferRequest& taken = requests[other];
      if (taken.lastStep < request.firstStep || request.lastStep < taken.firstStep) continue;
      if (offset + bytes <= plan.offsets[other]) break;
      offset = std::max(offset, plan.offsets[other] + roundUp(taken.bytes));
    }
    plan.offsets[index] = offset;
    plan.bytes = std::max(plan.bytes, offset + bytes);
    auto position =
        std::upper_bound(placed.begin(), placed.end(), offset,
                         [&](size_t value, size_t other) { return value < plan.offsets[other]; });
    placed.insert(position, index);
  }
  return plan;
}

}  // namespace resnet
