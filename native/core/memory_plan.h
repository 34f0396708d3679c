// Offsets in one arena for buffers of known size and lifetime: two buffers share memory only if no
// step needs both.
#pragma once

#include <cstddef>
#include <vector>

namespace resnet {

struct BufferRequest {
  size_t bytes = 0;
  int firstStep = 0, lastStep = 0;  // both included
};

struct MemoryPlan {
  std::vector<size_t> offsets;  // one per request, multiples of `alignment`
  size_t bytes = 0;
};

// Greedy by falling size, lowest offset that fits (the "greedy by size" of Pisarchyk & Lee 2020,
// arXiv 2001.03288).
MemoryPlan planMemory(const std::vector<BufferRequest>& requests, size_t alignment);

}  // namespace resnet
