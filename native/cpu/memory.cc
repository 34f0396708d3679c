#include "cpu/memory.h"

#include <algorithm>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "cpu/layout.h"

namespace resnet::cpu {

std::shared_ptr<float> allocateFloats(size_t count) {
  constexpr size_t kHugePage = size_t(2) << 20;
  const size_t bytes = std::max<size_t>(count, kBlock) * sizeof(float);
  const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
  void* memory = ::operator new(bytes, std::align_val_t{alignment}, std::nothrow);
  if (memory == nullptr) return nullptr;
#if defined(__linux__)
  if (alignment == kHugePage) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  std::memset(memory, 0, bytes);
  return std::shared_ptr<float>(static_cast<float*>(memory), [alignment](float* p) {
    ::operator delete(p, std::align_val_t{alignment});
  });
}

}  // namespace resnet::cpu
