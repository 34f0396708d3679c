// One device as one backend uses it: its memory under the cap, blocking copies, whether it is lost.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>

#include "core/backend.h"
#include "cuda/backend.h"
#include "cuda/completion.h"
#include "cuda/nvml.h"
#include "cuda/owners.h"

namespace resnet::cuda {

// CUDA's current device belongs to the thread: set for a scope, then put back.
class CurrentDevice {
 public:
  explicit CurrentDevice(int index);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int previous_ = -1, index_;
};

enum class MemoryKind { kWeights, kArenas, kTensors, kStaging };

class Device;

// Owner of device memory, counted under the cap until freed. Move-only.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  ~DeviceMemory();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  friend class Device;
  std::shared_ptr<Device> device_;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  bool pooled_ = false;
  MemoryKind kind_ = MemoryKind::kTensors;
};

class Device : public std::enable_shared_from_this<Device> {
 public:
  // memoryLimit: bytes of device memory of all kinds together; 0: no cap.
  static Result<std::shared_ptr<Device>> open(const DeviceInfo& info, size_t memoryLimit);

  int index() const { return info_.index; }
  const DeviceInfo& info() const { return info_; }
  const std::string& identity() const { return identity_; }  // of this opening, for packed keys
  const char* capability() const { return capability_.c_str(); }
  Completions& completions() { return *completions_; }

  // kOutOfMemory above the cap or when the device has no more. `purpose`: "the activations".
  Result<DeviceMemory> allocate(MemoryKind kind, size_t bytes, const std::string& purpose);
  MemoryUse memory() const;
  // Asks the driver what this process has here, for memory() to tell.
  void countProcess();

  // Block; not for the JavaScript thread.
  Status upload(void* to, const void* from, size_t bytes);
  Status download(void* to, const void* from, size_t bytes);
  Status clear(void* data, size_t bytes);

  // kDeviceLost once the device has failed for good.
  Status usable() const;
  // Passes `status` on, and remembers a loss; asks CUDA for one that another library hid.
  Status note(Status status);

 private:
  friend class DeviceMemory;
  explicit Device(const DeviceInfo& info, size_t memoryLimit);
  Status start();
  Status makePool();
  cudaError_t obtain(size_t bytes, bool pooled, void** data);
  Status settleCopy();
  void release(MemoryKind kind, size_t bytes);

  const DeviceInfo info_;
  const size_t limit_;
  std::string identity_, capability_;
  mutable std::mutex memoryMutex_;
  std::array<size_t, 4> used_{};  // by kind
  ProcessMemory process_;

  // Of tensors, which come and go while others run: freeing them waits for nothing. What is freed goes back to
  // the device, so that the pool holds no more than is counted. Null where the device has no pools.
  MemoryPool pool_;
  Stream poolStream_;

  std::mutex copyMutex_;  // one blocking copy at a time
  Stream copyStream_;
  Event copied_;

  std::atomic<bool> lost_{false};
  mutable std::mutex lossMutex_;
  Status loss_;
  std::unique_ptr<Completions> completions_;
};

}  // namespace resnet::cuda
