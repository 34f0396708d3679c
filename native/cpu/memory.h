// Memory for activations and packed weights.
#pragma once

#include <cstddef>
#include <memory>

namespace resnet::cpu {

// Zero-filled floats aligned to a cache line, on huge pages where the system has them: with 4 KB
// pages, the page walks and first touches cost more than packing the weights does. Zeroing makes the
// pages exist before the first run: a fresh one costs over a microsecond there. Null: out of memory.
std::shared_ptr<float> allocateFloats(size_t count);

}  // namespace resnet::cpu
