// Owners of CUDA's handles: move-only, made by make(), destroyed without a word.
#pragma once

#include <cuda_runtime_api.h>

#include <utility>

#include "cuda/error.h"

namespace resnet::cuda {

template <typename Handle, cudaError_t (*kDestroy)(Handle)>
class Owner {
 public:
  Owner() = default;
  Owner(Owner&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owner& operator=(Owner&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owner() {
    if (handle_ != nullptr) kDestroy(handle_);
  }

  operator Handle() const { return handle_; }  // NOLINT(google-explicit-constructor)
  Handle* address() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};

using Stream = Owner<cudaStream_t, cudaStreamDestroy>;
using Event = Owner<cudaEvent_t, cudaEventDestroy>;
using MemoryPool = Owner<cudaMemPool_t, cudaMemPoolDestroy>;
using Graph = Owner<cudaGraph_t, cudaGraphDestroy>;
using GraphExecutable = Owner<cudaGraphExec_t, cudaGraphExecDestroy>;

// Never the legacy stream's peer: work of other streams must not order ours.
inline Status make(Stream& stream) {
  return checkCuda(cudaStreamCreateWithFlags(stream.address(), cudaStreamNonBlocking),
                   "creating a stream");
}
// Waiting for it sleeps instead of spinning.
inline Status make(Event& event) {
  return checkCuda(
      cudaEventCreateWithFlags(event.address(), cudaEventDisableTiming | cudaEventBlockingSync),
      "creating an event");
}

// Page-locked host memory: what copies need to run beside everything else.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(PinnedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~PinnedMemory() {
    if (data_ != nullptr) cudaFreeHost(data_);
  }
  static Result<PinnedMemory> allocate(size_t bytes) {
    PinnedMemory memory;
    // Named in full: nvcc's front end copies where the others move.
    if (bytes == 0) return Result<PinnedMemory>(std::move(memory));
    RESNET_RETURN_IF_CUDA(
        cudaHostAlloc(reinterpret_cast<void**>(&memory.data_), bytes, cudaHostAllocDefault),
        "page-locking " + std::to_string(bytes) + " bytes of host memory for transfers");
    memory.bytes_ = bytes;
    return Result<PinnedMemory>(std::move(memory));
  }
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace resnet::cuda
