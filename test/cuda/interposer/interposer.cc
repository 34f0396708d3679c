// A libcudnn.so.9 between the backend and the real one, for machines without a device: descriptors,
// heuristics and plans are the real library's, told to work for a described device; only handles, which
// need a driver, are pretended, and nothing can be executed.
#include "test/cuda/interposer/interposer.h"

#include <cudnn_graph.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace {

#define RESNET_FORWARDED(X)        \
  X(cudnnGetVersion)               \
  X(cudnnGetErrorString)           \
  X(cudnnGetLastErrorString)       \
  X(cudnnBackendCreateDescriptor)  \
  X(cudnnBackendDestroyDescriptor) \
  X(cudnnBackendSetAttribute)      \
  X(cudnnBackendGetAttribute)      \
  X(cudnnBackendFinalize)

struct Real {
#define RESNET_DECLARE(name) decltype(&::name) name = nullptr;
  RESNET_FORWARDED(RESNET_DECLARE)
#undef RESNET_DECLARE
};

std::mutex mutex;
Real real;
cudnnBackendDescriptor_t device = nullptr;
std::map<cudnnBackendDescriptor_t, cudnnBackendDescriptorType_t> types;

// The attribute by which a descriptor of this type is told its device; 0: it needs none.
int deviceAttribute(cudnnBackendDescriptorType_t type) {
  switch (type) {
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
      return CUDNN_ATTR_ENGINEHEUR_DEVICEPROP;
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR:
      return CUDNN_ATTR_ENGINE_DEVICEPROP;
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
      return CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP;
    default:
      return 0;
  }
}

int handleMemory;  // its address is every handle

}  // namespace

extern "C" {

const char* resnetInterpose(const char* libraryPath, const char* deviceJson) {
  const std::lock_guard lock(mutex);
  static std::string reason;
  if (real.cudnnGetVersion == nullptr) {
    // DEEPBIND: its parts must find each other, not the entry points of this file.
    void* handle = dlopen(libraryPath, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (handle == nullptr) return (reason = dlerror()).c_str();
#define RESNET_RESOLVE(name)                                               \
  real.name = reinterpret_cast<decltype(real.name)>(dlsym(handle, #name)); \
  if (real.name == nullptr) return "the library lacks " #name;
    RESNET_FORWARDED(RESNET_RESOLVE)
#undef RESNET_RESOLVE
  }
  cudnnBackendDescriptor_t described = nullptr;
  cudnnStatus_t status =
      real.cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &described);
  if (status == CUDNN_STATUS_SUCCESS)
    status = real.cudnnBackendSetAttribute(
        described, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
        static_cast<int64_t>(std::strlen(deviceJson)), deviceJson);
  if (status == CUDNN_STATUS_SUCCESS) status = real.cudnnBackendFinalize(described);
  if (status != CUDNN_STATUS_SUCCESS) {
    if (described != nullptr) real.cudnnBackendDestroyDescriptor(described);
    return real.cudnnGetErrorString(status);
  }
  // The one before stays: plans that were built for it may still refer to it.
  device = described;
  return nullptr;
}

size_t cudnnGetVersion() { return real.cudnnGetVersion == nullptr ? 0 : real.cudnnGetVersion(); }
const char* cudnnGetErrorString(cudnnStatus_t status) { return real.cudnnGetErrorString(status); }
void cudnnGetLastErrorString(char* message, size_t size) {
  real.cudnnGetLastErrorString(message, size);
}
cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  *handle = reinterpret_cast<cudnnHandle_t>(&handleMemory);
  return device == nullptr ? CUDNN_STATUS_NOT_INITIALIZED : CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnGetStream(cudnnHandle_t, cudaStream_t* stream) {
  *stream = nullptr;
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t, cudnnBackendDescriptor_t,
                                  cudnnBackendDescriptor_t) {
  return CUDNN_STATUS_EXECUTION_FAILED;  // there is nothing to execute on
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t* descriptor) {
  const cudnnStatus_t status = real.cudnnBackendCreateDescriptor(type, descriptor);
  const std::lock_guard lock(mutex);
  if (status == CUDNN_STATUS_SUCCESS) types[*descriptor] = type;
  return status;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  {
    const std::lock_guard lock(mutex);
    types.erase(descriptor);
  }
  return real.cudnnBackendDestroyDescriptor(descriptor);
}
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void* elements) {
  if (type == CUDNN_TYPE_HANDLE) return CUDNN_STATUS_SUCCESS;  // the device is told instead
  return real.cudnnBackendSetAttribute(descriptor, name, type, count, elements);
}
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t requested,
                                       int64_t* count, void* elements) {
  return real.cudnnBackendGetAttribute(descriptor, name, type, requested, count, elements);
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  int attribute = 0;
  {
    const std::lock_guard lock(mutex);
    const auto type = types.find(descriptor);
    if (type != types.end()) attribute = deviceAttribute(type->second);
  }
  if (attribute != 0) {
    const cudnnStatus_t status = real.cudnnBackendSetAttribute(
        descriptor, static_cast<cudnnBackendAttributeName_t>(attribute),
        CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
    if (status != CUDNN_STATUS_SUCCESS) return status;
  }
  return real.cudnnBackendFinalize(descriptor);
}

}  // extern "C"
