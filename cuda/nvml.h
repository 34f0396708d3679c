// What the driver says of a process's memory on a device, and of itself: by its management library where libnvidia-ml.so.1
// can be opened by name, and the reason where it cannot. Nothing depends on it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace resnet::cuda {

struct NvmlLibrary {
  std::string version;  // "13.580.95"; empty: it cannot be used
  std::string reason;
};
// Opened once per process and never closed; an initialisation that failed is tried again.
NvmlLibrary openNvml();

struct ProcessMemory {
  size_t bytes = 0;    // of this process on the device: contexts, code, pools and all; 0: not known
  std::string reason;  // why not
};
// `uuid` as in DeviceInfo. May take a millisecond: not for the JavaScript thread.
ProcessMemory processMemory(const std::string& uuid);

// The driver's build: "580.95.05"; drivers of one CUDA version are told apart by it. By the management library, else by
// /proc/driver/nvidia/version, which the kernel's module writes; empty where neither says.
std::string driverBuild();
// The build that the text of such a file names; empty: none.
std::string driverBuildIn(std::string_view text);

}  // namespace resnet::cuda
