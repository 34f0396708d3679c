// Devices as a backend lists them, and what makes a backend of one.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace resnet {

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

struct BackendOptions {
  int device = 0;
  // Bytes of device memory for weights, arenas and tensors together; 0: no cap.
  size_t memoryLimit = 0;
};

}  // namespace resnet
