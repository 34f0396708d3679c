// The CUDA Backend of one device.
#pragma once

#include <memory>

#include "core/backend.h"
#include "core/device.h"

namespace resnet::cuda {

using resnet::BackendOptions;
using resnet::DeviceInfo;
using resnet::Probe;

Probe probe();  // never fails: what is missing is in `reason`

// kUnavailable: no driver, no cuDNN, one that is too old, no such device.
Result<std::shared_ptr<Backend>> makeCudaBackend(const BackendOptions& options);

}  // namespace resnet::cuda
