// What a machine has: drivers, devices, cuDNN. probe() itself is declared in backend.h.
#pragma once

#include "cuda/backend.h"

namespace resnet::cuda {

constexpr int kMinimumCapability = 75;  // the oldest that kernels are compiled for

// Why our kernels cannot run on a device; empty when they can.
std::string unsupportedReason(const DeviceInfo& device);

}  // namespace resnet::cuda
