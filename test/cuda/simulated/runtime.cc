// The entry points of the CUDA runtime for devices and memory. streams.cc has the rest.
#include <cstdio>
#include <cstring>

#include "test/cuda/simulated/state.h"

using namespace resnet::simulated;

namespace {

bool validDevice(int device) { return device >= 0 && size_t(device) < state().devices.size(); }

enum class Place { kDevice, kPinned, kPageable };
struct Range {
  Place place = Place::kPageable;
  bool valid = true;
};

Range locate(const void* pointer, size_t bytes) {
  if (findDevice(pointer, bytes) != nullptr) return {Place::kDevice, true};
  if (overlapsDevice(pointer, bytes)) return {Place::kDevice, false};
  if (findPinned(pointer, bytes) != nullptr) return {Place::kPinned, true};
  return {Place::kPageable, pointer != nullptr};
}

// The sides as `kind` says them must be where the memory is.
cudaError_t checkCopy(const Range& to, const Range& from, cudaMemcpyKind kind) {
  if (!to.valid || !from.valid) {
    violation("a copy's range is not inside one live allocation");
    return cudaErrorInvalidValue;
  }
  const bool toDevice = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool fromDevice = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind != cudaMemcpyDefault &&
      (toDevice != (to.place == Place::kDevice) || fromDevice != (from.place == Place::kDevice))) {
    violation("a copy's direction is not that of its pointers");
    return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}

Work copyWork(void* to, const void* from, size_t bytes) {
  return {"a copy",
          [=] {
            std::memmove(to, from, bytes);
            return cudaSuccess;
          },
          false, 2, true};
}

cudaError_t copyAsync(Entry& entry, void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                      cudaStream_t stream) {
  if (!validStream(stream)) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  const Range target = locate(to, bytes), source = locate(from, bytes);
  const cudaError_t code = checkCopy(target, source, kind);
  if (code != cudaSuccess) return code;
  const bool pageable = target.place == Place::kPageable || source.place == Place::kPageable;
  if (!pageable) return submit(stream, copyWork(to, from, bytes));
  // Stricter than CUDA, which lets some of these into a graph: they would wait in every launch.
  const cudaError_t refused = refuseInCapture(stream);
  if (refused != cudaSuccess) return refused;
  ++state().pageableCopies;
  if (source.place == Place::kPageable && target.place == Place::kDevice) {
    // Read now into the driver's own memory, copied later.
    const auto staged = [&] {
      const Shown shown;
      const auto* data = static_cast<const uint8_t*>(from);
      return std::make_shared<std::vector<uint8_t>>(data, data + bytes);
    }();
    return submit(stream, {"a copy",
                           [=] {
                             std::memcpy(to, staged->data(), bytes);
                             return cudaSuccess;
                           },
                           false, 4, true});
  }
  const OperationPointer operation =
      enqueue(stream, std::make_shared<const Work>(copyWork(to, from, bytes)));
  await(entry.lock(), operation);
  return state().devices[size_t(operation->device)].lost;
}

cudaError_t copyNow(Entry& entry, void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  cudaError_t code = refuseInCapture(nullptr);
  if (code == cudaSuccess) code = refuseUnsafe();
  if (code != cudaSuccess || bytes == 0) return code;
  const Range target = locate(to, bytes), source = locate(from, bytes);
  code = checkCopy(target, source, kind);
  if (code != cudaSuccess) return code;
  const OperationPointer operation =
      enqueue(nullptr, std::make_shared<const Work>(copyWork(to, from, bytes)));
  await(entry.lock(), operation);
  return entry.device().lost;
}

Work setWork(void* to, int value, size_t bytes) {
  return {"a fill",
          [=] {
            std::memset(to, value, bytes);
            return cudaSuccess;
          },
          false, 2};
}

}  // namespace

extern "C" {

cudaError_t cudaDriverGetVersion(int* version) {
  Entry entry("cudaDriverGetVersion", Entry::kPlain);
  if (entry.code() == cudaErrorNoDevice || entry.code() == cudaErrorInsufficientDriver ||
      entry.ok()) {
    *version = state().driverVersion;
    return cudaSuccess;
  }
  return entry.leave();
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  Entry entry("cudaGetDeviceCount", Entry::kPlain);
  *count = entry.ok() ? int(state().devices.size()) : 0;
  return entry.leave();
}

cudaError_t cudaSetDevice(int device) {
  Entry entry("cudaSetDevice", Entry::kPlain);
  if (!entry.ok()) return entry.leave();
  if (!validDevice(device)) return entry.leave(cudaErrorInvalidDevice);
  currentDevice = device;
  return entry.leave(entry.device().lost);
}

cudaError_t cudaGetDevice(int* device) {
  Entry entry("cudaGetDevice", Entry::kPlain);
  *device = currentDevice;
  return entry.leave();
}

cudaError_t cudaInitDevice(int device, unsigned, unsigned) {
  Entry entry("cudaInitDevice", Entry::kPlain);
  if (!entry.ok()) return entry.leave();
  return entry.leave(validDevice(device) ? state().devices[size_t(device)].lost
                                         : cudaErrorInvalidDevice);
}

cudaError_t cudaSetDeviceFlags(unsigned) {
  Entry entry("cudaSetDeviceFlags", Entry::kPlain);
  return entry.leave();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  Entry entry("cudaGetDeviceProperties", Entry::kPlain);
  if (!entry.ok()) return entry.leave();
  if (!validDevice(device)) return entry.leave(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "Simulated device %d", device);
  for (int i = 0; i < 16; ++i) properties->uuid.bytes[i] = char(i == 15 ? device : 0x51);
  properties->totalGlobalMem = state().memoryLimit;
  properties->major = state().devices[size_t(device)].major;
  properties->multiProcessorCount = 132;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->sharedMemPerBlock = 48 << 10;
  properties->sharedMemPerBlockOptin = 227 << 10;
  properties->sharedMemPerMultiprocessor = 228 << 10;
  properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
  properties->l2CacheSize = int(state().l2Bytes);
  properties->memoryBusWidth = 5120;
  properties->totalConstMem = 64 << 10;
  properties->asyncEngineCount = 3;
  properties->concurrentKernels = properties->unifiedAddressing = properties->canMapHostMemory = 1;
  properties->maxGridSize[0] = 2147483647;
  properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
  properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
  properties->maxThreadsDim[2] = 64;
  properties->pciBusID = device + 1;
  return entry.leave();
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  Entry entry("cudaDeviceGetAttribute", Entry::kPlain);
  if (!entry.ok()) return entry.leave();
  if (!validDevice(device)) return entry.leave(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = 132;
      break;
    case cudaDevAttrL2CacheSize:
      *value = int(state().l2Bytes);
      break;
    case cudaDevAttrWarpSize:
      *value = 32;
      break;
    case cudaDevAttrMaxThreadsPerBlock:
      *value = 1024;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = 48 << 10;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 227 << 10;
      break;
    case cudaDevAttrClockRate:
      *value = 1980000;
      break;
    case cudaDevAttrMemoryClockRate:
      *value = 2619000;
      break;
    case cudaDevAttrGlobalMemoryBusWidth:
      *value = 5120;
      break;
    case cudaDevAttrIntegrated:
      *value = 0;
      break;
    case cudaDevAttrCooperativeLaunch:
      *value = 1;
      break;
    case cudaDevAttrMemoryPoolsSupported:
      *value = state().poolsSupported ? 1 : 0;
      break;
    default:
      return entry.leave(cudaErrorInvalidValue);
  }
  return entry.leave();
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int bytes, int device) {
  Entry entry("cudaDeviceGetPCIBusId", Entry::kPlain);
  if (!entry.ok()) return entry.leave();
  if (!validDevice(device)) return entry.leave(cudaErrorInvalidDevice);
  std::snprintf(text, size_t(bytes), "0000:%02x:00.0", device + 1);
  return entry.leave();
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  Entry entry("cudaMemGetInfo");
  if (!entry.ok()) return entry.leave();
  *total = state().memoryLimit;
  const size_t used = entry.device().used;
  *free = used < *total ? *total - used : 0;
  return entry.leave();
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  Entry entry("cudaMalloc");
  if (entry.ok()) entry.leave(refuseUnsafe());
  if (!entry.ok()) return entry.leave();
  return entry.leave(allocateDevice(currentDevice, bytes, pointer));
}

cudaError_t cudaFree(void* pointer) {
  Entry entry("cudaFree", Entry::kRelease);
  if (pointer == nullptr || entry.code() == cudaErrorNotPermitted) return entry.leave();
  const cudaError_t refused = refuseUnsafe();
  const Allocation* found = findDevice(pointer, 0);
  if (found == nullptr || found->data != pointer) {
    violation("cudaFree of what cudaMalloc did not give, or freed before");
    return entry.leave(cudaErrorInvalidValue);
  }
  const int device = found->device;
  driveDevice(entry.lock(), device);
  releaseDevice(pointer);
  return entry.leave(refused != cudaSuccess ? refused : state().devices[size_t(device)].lost);
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  Entry entry("cudaHostAlloc");
  if (entry.ok()) entry.leave(refuseUnsafe());
  if (!entry.ok()) return entry.leave();
  return entry.leave(allocatePinned(bytes, pointer));
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void* pointer) {
  Entry entry("cudaFreeHost", Entry::kRelease);
  if (pointer == nullptr || entry.code() == cudaErrorNotPermitted) return entry.leave();
  for (size_t device = 0; device < state().devices.size(); ++device)
    driveDevice(entry.lock(), int(device));
  if (!releasePinned(pointer)) {
    violation("cudaFreeHost of what cudaHostAlloc did not give, or freed before");
    return entry.leave(cudaErrorInvalidValue);
  }
  return entry.leave();
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  Entry entry("cudaPointerGetAttributes", Entry::kPlain);
  if (!entry.ok()) return entry.leave();
  *attributes = {};
  attributes->device = -1;
  if (const Allocation* found = findDevice(pointer, 0)) {
    attributes->type = cudaMemoryTypeDevice;
    attributes->device = found->device;
    attributes->devicePointer = const_cast<void*>(pointer);
  } else if (findPinned(pointer, 0) != nullptr) {
    attributes->type = cudaMemoryTypeHost;
    attributes->device = currentDevice;
    attributes->devicePointer = attributes->hostPointer = const_cast<void*>(pointer);
  } else {
    attributes->type = cudaMemoryTypeUnregistered;
    attributes->hostPointer = const_cast<void*>(pointer);
  }
  return entry.leave();
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  Entry entry("cudaMemcpy");
  if (!entry.ok()) return entry.leave();
  return entry.leave(copyNow(entry, to, from, bytes, kind));
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  Entry entry("cudaMemcpyAsync");
  if (!entry.ok()) return entry.leave();
  return entry.leave(copyAsync(entry, to, from, bytes, kind, stream));
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  Entry entry("cudaMemset");
  if (!entry.ok()) return entry.leave();
  if (bytes == 0) return cudaSuccess;
  const cudaError_t refused = refuseUnsafe();
  if (refused != cudaSuccess) return entry.leave(refused);
  if (findDevice(to, bytes) == nullptr) return entry.leave(cudaErrorInvalidValue);
  return entry.leave(submit(nullptr, setWork(to, value, bytes)));
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  Entry entry("cudaMemsetAsync");
  if (!entry.ok()) return entry.leave();
  if (!validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  if (bytes == 0) return cudaSuccess;
  if (findDevice(to, bytes) == nullptr) return entry.leave(cudaErrorInvalidValue);
  return entry.leave(submit(stream, setWork(to, value, bytes)));
}

cudaError_t cudaDeviceSynchronize() {
  Entry entry("cudaDeviceSynchronize");
  if (entry.ok()) entry.leave(refuseUnsafe());
  if (!entry.ok()) return entry.leave();
  driveDevice(entry.lock(), currentDevice);
  orderStopped(&entry.device());
  return entry.leave(entry.device().lost);
}

// A reset in earnest would free what other parts of the process hold.
cudaError_t cudaDeviceReset() {
  Entry entry("cudaDeviceReset", Entry::kPlain);
  violation("cudaDeviceReset, which takes the device from everybody in the process");
  return entry.leave(cudaErrorNotPermitted);
}

cudaError_t cudaGetLastError() {
  const cudaError_t code = cudaPeekAtLastError();
  lastError = cudaSuccess;
  return code;
}

cudaError_t cudaPeekAtLastError() {
  Lock lock(state().mutex);
  const size_t device = size_t(currentDevice);
  if (device < state().devices.size() && state().devices[device].lost != cudaSuccess &&
      !inHostFunction)
    return state().devices[device].lost;
  return lastError;
}

const char* cudaGetErrorName(cudaError_t code) {
  switch (code) {
#define RESNET_NAME(name) \
  case name:              \
    return #name;
    RESNET_NAME(cudaSuccess)
    RESNET_NAME(cudaErrorInvalidValue)
    RESNET_NAME(cudaErrorMemoryAllocation)
    RESNET_NAME(cudaErrorInitializationError)
    RESNET_NAME(cudaErrorInsufficientDriver)
    RESNET_NAME(cudaErrorNoDevice)
    RESNET_NAME(cudaErrorInvalidDevice)
    RESNET_NAME(cudaErrorECCUncorrectable)
    RESNET_NAME(cudaErrorInvalidResourceHandle)
    RESNET_NAME(cudaErrorNotReady)
    RESNET_NAME(cudaErrorIllegalAddress)
    RESNET_NAME(cudaErrorLaunchFailure)
    RESNET_NAME(cudaErrorLaunchOutOfResources)
    RESNET_NAME(cudaErrorNotPermitted)
    RESNET_NAME(cudaErrorNotSupported)
    RESNET_NAME(cudaErrorStreamCaptureUnsupported)
    RESNET_NAME(cudaErrorStreamCaptureInvalidated)
    RESNET_NAME(cudaErrorStreamCaptureMerge)
    RESNET_NAME(cudaErrorStreamCaptureUnmatched)
    RESNET_NAME(cudaErrorStreamCaptureUnjoined)
    RESNET_NAME(cudaErrorStreamCaptureIsolation)
    RESNET_NAME(cudaErrorStreamCaptureImplicit)
    RESNET_NAME(cudaErrorStreamCaptureWrongThread)
    RESNET_NAME(cudaErrorCapturedEvent)
#undef RESNET_NAME
    default:
      return "cudaError";
  }
}

const char* cudaGetErrorString(cudaError_t code) { return cudaGetErrorName(code); }

}  // extern "C"
