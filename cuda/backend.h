// The CUDA Backend of one device.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"

namespace resnet::cuda {

struct DeviceInfo {
  int index = 0;
  std::string name, uuid;  // "NVIDIA H200"
  int capabilityMajor = 0, capabilityMinor = 0, multiprocessors = 0;
  size_t memoryBytes = 0, freeBytes = 0;
  bool mig = false;
};
struct Probe {
  std::vector<DeviceInfo> devices;
  std::string driver, runtime, cudnn, cudnnPath;  // versions; empty: not found
  std::string reason;                             // why no device can be used; empty when one can
};
Probe probe();  // never fails: what is missing is in `reason`

struct BackendOptions {
  int device = 0;
  size_t memoryLimit =
      0;  // bytes of device memory for weights, arenas, tensors together; 0: no cap
};
// kUnavailable: no driver, no cuDNN, one that is too old, no such device.
Result<std::shared_ptr<Backend>> makeCudaBackend(const BackendOptions& options);

}  // namespace resnet::cuda
