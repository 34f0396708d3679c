// Devices as a backend lists them, and what makes a backend of one.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace resnet {

// The most that a device does in a second: bytes copied (read and written), and FLOP of dense matrix products
// by dtype of the operands, sums in float32. 0: not known.
struct Ceilings {
  double bytesPerSecond = 0, float16 = 0, bfloat16 = 0, tf32 = 0, float32 = 0;
  std::string source;  // where they come from: "theoretical: ...", "measured: ..."
};

struct DeviceInfo {
  int index = 0;
  std::string name, uuid;  // "NVIDIA H200"
  int capabilityMajor = 0, capabilityMinor = 0, multiprocessors = 0;
  size_t memoryBytes = 0, freeBytes = 0;
  bool mig = false;
  Ceilings ceilings;
  size_t processBytes = 0;  // in use by this process, as the driver counts it; 0: not known
};

struct Probe {
  std::vector<DeviceInfo> devices;
  std::string driver, runtime, cudnn, cudnnPath;  // versions; empty: not found
  std::string nvml, nvmlReason;  // version of the driver's management library; why there is none
  std::string reason;            // why no device can be used; empty when one can
};

struct BackendOptions {
  int device = 0;
  // Bytes of device memory for weights, arenas and tensors together; 0: no cap.
  size_t memoryLimit = 0;
};

}  // namespace resnet
