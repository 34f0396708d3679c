// CUDA's errors as Status: which ones leave the device usable, and which have lost it.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "core/status.h"

namespace resnet::cuda {

// After one of these every later call on the device fails, until the process ends.
bool isSticky(cudaError_t error);

// kOutOfMemory, kDeviceLost (sticky), kUnavailable (driver or device missing) or kInternal.
// `what`: what was being done, "uploading weights".
Status cudaFailure(cudaError_t error, const std::string& what);

inline Status checkCuda(cudaError_t error, const char* what) {
  return error == cudaSuccess ? Status::okay() : cudaFailure(error, what);
}

}  // namespace resnet::cuda

#define RESNET_RETURN_IF_CUDA(expression, what)                                  \
  do {                                                                           \
    const cudaError_t error_ = (expression);                                     \
    if (error_ != cudaSuccess) return ::resnet::cuda::cudaFailure(error_, what); \
  } while (0)
