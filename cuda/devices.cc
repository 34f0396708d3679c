// probe(): what this machine has for the CUDA backend, and the reason when it cannot be used.
#include "cuda/devices.h"

#include <cuda_runtime_api.h>
#include <algorithm>

#include <cstdio>
#include <cstring>

#include "cuda/ceilings.h"
#include "cuda/cudnn/library.h"
#include "cuda/error.h"
#include "cuda/nvml.h"

namespace resnet::cuda {
namespace {

std::string cudaVersionText(int version) {  // 13000
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string uuidText(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", unsigned(uint8_t(uuid.bytes[i])));
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += digits;
  }
  return text;
}

// The driver that CUDA's runtime of this build needs: a driver serves every runtime of its major.
std::string neededDriver() {
  constexpr int kMajor = CUDART_VERSION / 1000;
  const char* number = kMajor >= 13 ? "580" : "525";
  return "an NVIDIA driver of version " + std::string(number) + " or newer (CUDA " +
         std::to_string(kMajor) + ".0)";
}

std::string driverReason(cudaError_t error, int driver) {
  if (driver == 0)
    return "no NVIDIA driver found (libcuda.so.1), expected " + neededDriver() +
           "; install the driver, or in a container start it with the GPUs passed through";
  if (error == cudaErrorInsufficientDriver || driver / 1000 < CUDART_VERSION / 1000)
    return "the NVIDIA driver supports CUDA " + cudaVersionText(driver) + ", expected " +
           neededDriver() + "; update the driver";
  if (error == cudaErrorNoDevice)
    return "the NVIDIA driver finds no device; look at nvidia-smi and CUDA_VISIBLE_DEVICES";
  return checkCuda(error, "counting devices").message;
}

Result<DeviceInfo> describe(int index) {
  cudaDeviceProp properties = {};
  RESNET_RETURN_IF_CUDA(cudaGetDeviceProperties(&properties, index),
                        "reading a device's properties");
  DeviceInfo info;
  info.index = index;
  info.name = properties.name;
  info.uuid = uuidText(properties.uuid);
  info.capabilityMajor = properties.major;
  info.capabilityMinor = properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.memoryBytes = properties.totalGlobalMem;
  info.mig = info.name.find(" MIG ") != std::string::npos;
  info.ceilings = theoreticalCeilings(index, properties.major * 10 + properties.minor);
  readMeasuredCeilings(info.name, info.ceilings);
  return info;
}

// Free memory needs a context on the device, which the process keeps: it is asked of the device
// that is current anyway, and of it alone.
void readFreeMemory(std::vector<DeviceInfo>& devices) {
  int current = 0;
  size_t free = 0, total = 0;
  if (cudaGetDevice(&current) != cudaSuccess || cudaMemGetInfo(&free, &total) != cudaSuccess) {
    cudaGetLastError();
    return;
  }
  for (DeviceInfo& device : devices) {
    if (device.index == current) device.freeBytes = free;
    device.processBytes = processMemory(device.uuid).bytes;
  }
}

}  // namespace

std::string unsupportedReason(const DeviceInfo& device) {
  const int capability = device.capabilityMajor * 10 + device.capabilityMinor;
  if (capability >= kMinimumCapability) return {};
  return "device " + std::to_string(device.index) + " (" + device.name +
         ") has compute capability " + std::to_string(device.capabilityMajor) + "." +
         std::to_string(device.capabilityMinor) + ", expected 7.5 or newer (Turing)";
}

Probe probe() {
  Probe found;
  found.runtime = cudaVersionText(CUDART_VERSION);
  const NvmlLibrary nvml = openNvml();
  found.nvml = nvml.version;
  found.nvmlReason = nvml.reason;
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  if (driver != 0) found.driver = "CUDA " + cudaVersionText(driver);

  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  const bool usable = error == cudaSuccess && driver / 1000 >= CUDART_VERSION / 1000;
  if (!usable || count == 0) {
    found.reason = driverReason(error == cudaSuccess ? cudaErrorNoDevice : error, driver);
    cudaGetLastError();
  }
  for (int i = 0; usable && i < count; ++i) {
    auto device = describe(i);
    if (device.ok()) {
      found.devices.push_back(device.take());
    } else if (found.reason.empty()) {
      found.reason = device.status().message;
    }
  }

  const auto library = openCudnn();
  if (library.ok()) {
    found.cudnn = cudnnVersionText(library.value().version);
    found.cudnnPath = library.value().path;
  } else if (found.reason.empty()) {
    found.reason = library.status().message;
  }

  bool any = false;
  std::string tooOld;
  for (const DeviceInfo& device : found.devices) {
    const std::string reason = unsupportedReason(device);
    any = any || reason.empty();
    if (tooOld.empty()) tooOld = reason;
  }
  if (any && library.ok()) {
    found.reason.clear();
    // The first is what 'cuda' and 'auto' take: one that works.
    std::stable_partition(found.devices.begin(), found.devices.end(), [](const DeviceInfo& device) {
      return unsupportedReason(device).empty();
    });
    readFreeMemory(found.devices);
  } else if (found.reason.empty()) {
    found.reason = tooOld;
  }
  return found;
}

}  // namespace resnet::cuda
