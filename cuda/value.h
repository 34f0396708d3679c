// What kernels, convolutions and the executor agree on: how an activation lies in device memory.
#pragma once

#include <cuda_runtime_api.h>

#include "core/dtype.h"

namespace resnet::cuda {

// A batch of maps, NHWC: pixel (n, y, x) begins at ((n * h + y) * w + x) * pitch elements. Channels
// from c to pitch are zero in what convolutions read, and every kernel that writes a value keeps
// them so. Vectors are 1 x 1 maps. Two values may be channel slices of one buffer: then `pitch` is
// the buffer's and the slice's own padding is not written. Which it is follows from the pitch: up to
// paddedChannels(c) it is padding, which a kernel makes zero, beyond that a slice.
struct View {
  void* data = nullptr;
  int n = 0, h = 1, w = 1, c = 1;
  int pitch = 1;  // elements from pixel to pixel
  DType dtype = DType::kFloat16;
};

// Channels are padded to this in values that convolutions read or write: what tensor cores want.
constexpr int kChannelAlignment = 8;
constexpr int paddedChannels(int c) {
  return (c + kChannelAlignment - 1) / kChannelAlignment * kChannelAlignment;
}

}  // namespace resnet::cuda
