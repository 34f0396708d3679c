#include "cuda/error.h"

namespace resnet::cuda {

bool isSticky(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorLaunchFailure:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorExternalDevice:
    case cudaErrorDevicesUnavailable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorCudartUnloading:
      return true;
    default:
      return false;
  }
}

namespace {

Code codeOf(cudaError_t error) {
  if (error == cudaErrorMemoryAllocation) return Code::kOutOfMemory;
  if (isSticky(error)) return Code::kDeviceLost;
  switch (error) {
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorInvalidDevice:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorSystemNotReady:
    case cudaErrorCompatNotSupportedOnDevice:
    case cudaErrorInitializationError:
      return Code::kUnavailable;
    default:
      return Code::kInternal;
  }
}

const char* adviceFor(Code code) {
  switch (code) {
    case Code::kOutOfMemory:
      return "; lower maxBatch, dispose models or tensors, or use another device";
    case Code::kDeviceLost:
      return "; this device cannot be used again in this process: start a new one, or load the "
             "model on another device";
    default:
      return "";
  }
}

}  // namespace

Status cudaFailure(cudaError_t error, const std::string& what) {
  cudaGetLastError();  // an error that is not sticky must not be found again by the next call
  const Code code = codeOf(error);
  return Status::error(code, what + ": CUDA reported " + cudaGetErrorName(error) + " (" +
                                 std::to_string(int(error)) + "), " + cudaGetErrorString(error) +
                                 adviceFor(code));
}

}  // namespace resnet::cuda
