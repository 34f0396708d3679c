#include "cuda/device.h"

#include <utility>

namespace resnet::cuda {

CurrentDevice::CurrentDevice(int index) : index_(index) {
  if (cudaGetDevice(&previous_) != cudaSuccess) previous_ = -1;
  if (previous_ != index_) cudaSetDevice(index_);
}

CurrentDevice::~CurrentDevice() {
  if (previous_ < 0 || previous_ == index_) return;
  // A lost device says so once more, which must not be found as the error of another one's call.
  if (cudaSetDevice(previous_) != cudaSuccess) cudaGetLastError();
}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(pooled_, other.pooled_);
  std::swap(kind_, other.kind_);
  return *this;
}

DeviceMemory::~DeviceMemory() {
  if (device_ == nullptr) return;
  CurrentDevice current(device_->index());
  // Whoever used it is done, so that it needs no place in anybody's order: cudaFree would wait for the device.
  if (pooled_)
    cudaFreeAsync(data_, device_->poolStream_);
  else
    cudaFree(data_);
  device_->release(kind_, bytes_);
}

Device::Device(const DeviceInfo& info, size_t memoryLimit) : info_(info), limit_(memoryLimit) {
  static std::atomic<uint64_t> openings{0};
  identity_ = "cuda:" + std::to_string(info.index) + " opening " + std::to_string(openings++);
  capability_ = "sm_" + std::to_string(info.capabilityMajor) + std::to_string(info.capabilityMinor);
}

Result<std::shared_ptr<Device>> Device::open(const DeviceInfo& info, size_t memoryLimit) {
  std::shared_ptr<Device> device(new Device(info, memoryLimit));
  RESNET_RETURN_IF_ERROR(device->start());
  return device;
}

Status Device::start() {
  CurrentDevice current(index());
  RESNET_RETURN_IF_ERROR(make(copyStream_));
  RESNET_RETURN_IF_ERROR(make(copied_));
  RESNET_RETURN_IF_ERROR(makePool());
  completions_ = std::make_unique<Completions>(index());
  return Status::okay();
}

// A device without pools, or with none left, does without.
Status Device::makePool() {
  int supported = 0;
  cudaError_t error = cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, index());
  if (error == cudaSuccess && supported != 0) {
    RESNET_RETURN_IF_ERROR(make(poolStream_));
    cudaMemPoolProps properties = {};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = index();
    error = cudaMemPoolCreate(pool_.address(), &properties);
  }
  if (isSticky(error)) return cudaFailure(error, "making a memory pool");
  if (error != cudaSuccess) cudaGetLastError();
  return Status::okay();
}

// Memory of the pool is ready for every stream on return.
cudaError_t Device::obtain(size_t bytes, bool pooled, void** data) {
  const auto attempt = [&] {
    if (!pooled) return cudaMalloc(data, bytes);
    const cudaError_t error = cudaMallocFromPoolAsync(data, bytes, pool_, poolStream_);
    if (error != cudaSuccess) return error;
    const cudaError_t arrived = cudaStreamSynchronize(poolStream_);
    if (arrived != cudaSuccess) cudaFreeAsync(*data, poolStream_);
    return arrived;
  };
  const cudaError_t error = attempt();
  if (error != cudaErrorMemoryAllocation || pool_ == nullptr) return error;
  // Tensors that were given back may not have arrived there yet.
  cudaGetLastError();
  const cudaError_t settled = cudaStreamSynchronize(poolStream_);
  if (settled != cudaSuccess) return settled;
  cudaMemPoolTrimTo(pool_, 0);
  return attempt();
}

Result<DeviceMemory> Device::allocate(MemoryKind kind, size_t bytes, const std::string& purpose) {
  RESNET_RETURN_IF_ERROR(usable());
  DeviceMemory memory;
  if (bytes == 0) return memory;
  {
    std::lock_guard lock(memoryMutex_);
    size_t used = 0;
    for (size_t part : used_) used += part;
    if (limit_ != 0 && (bytes > limit_ || used > limit_ - bytes)) {
      return Status::error(
          Code::kOutOfMemory,
          purpose + " need " + std::to_string(bytes) + " bytes of device memory, " +
              std::to_string(used) + " of memoryLimit " + std::to_string(limit_) +
              " are in use; raise memoryLimit, lower maxBatch, or dispose models or "
              "tensors");
    }
    used_[size_t(kind)] += bytes;
  }
  CurrentDevice current(index());
  void* data = nullptr;
  const bool pooled = kind == MemoryKind::kTensors && pool_ != nullptr;
  const cudaError_t error = obtain(bytes, pooled, &data);
  if (error != cudaSuccess) {
    release(kind, bytes);
    return note(
        cudaFailure(error, purpose + " need " + std::to_string(bytes) + " bytes of device memory"));
  }
  memory.device_ = shared_from_this();
  memory.data_ = static_cast<std::byte*>(data);
  memory.bytes_ = bytes;
  memory.kind_ = kind;
  memory.pooled_ = pooled;
  return memory;
}

void Device::release(MemoryKind kind, size_t bytes) {
  std::lock_guard lock(memoryMutex_);
  used_[size_t(kind)] -= bytes;
}

MemoryUse Device::memory() const {
  std::lock_guard lock(memoryMutex_);
  MemoryUse use;
  use.weights = used_[size_t(MemoryKind::kWeights)];
  use.arenas = used_[size_t(MemoryKind::kArenas)];
  use.tensors = used_[size_t(MemoryKind::kTensors)];
  use.staging = used_[size_t(MemoryKind::kStaging)];
  use.limit = limit_;
  use.process = process_.bytes;
  use.processReason = process_.reason;
  return use;
}

void Device::countProcess() {
  ProcessMemory process = processMemory(info_.uuid);
  std::lock_guard lock(memoryMutex_);
  process_ = std::move(process);
}

Status Device::settleCopy() {
  Status status = checkCuda(cudaEventRecord(copied_, copyStream_), "copying");
  if (status.ok()) status = checkCuda(cudaEventSynchronize(copied_), "copying");
  // A copy whose end cannot be told still uses both sides, which the caller may free now.
  if (!status.ok()) cudaStreamSynchronize(copyStream_);
  return status;
}

Status Device::upload(void* to, const void* from, size_t bytes) {
  RESNET_RETURN_IF_ERROR(usable());
  if (bytes == 0) return Status::okay();
  std::lock_guard lock(copyMutex_);
  CurrentDevice current(index());
  Status status =
      checkCuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, copyStream_), "uploading");
  Status settled = settleCopy();
  return note(status.ok() ? std::move(settled) : std::move(status));
}

Status Device::download(void* to, const void* from, size_t bytes) {
  RESNET_RETURN_IF_ERROR(usable());
  if (bytes == 0) return Status::okay();
  std::lock_guard lock(copyMutex_);
  CurrentDevice current(index());
  Status status = checkCuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, copyStream_),
                            "downloading");
  Status settled = settleCopy();
  return note(status.ok() ? std::move(settled) : std::move(status));
}

Status Device::clear(void* data, size_t bytes) {
  RESNET_RETURN_IF_ERROR(usable());
  if (bytes == 0) return Status::okay();
  std::lock_guard lock(copyMutex_);
  CurrentDevice current(index());
  Status status = checkCuda(cudaMemsetAsync(data, 0, bytes, copyStream_), "clearing memory");
  Status settled = settleCopy();
  return note(status.ok() ? std::move(settled) : std::move(status));
}

Status Device::usable() const {
  if (!lost_.load(std::memory_order_acquire)) return Status::okay();
  std::lock_guard lock(lossMutex_);
  return loss_;
}

Status Device::note(Status status) {
  if (status.ok() || status.code == Code::kAborted || status.code == Code::kOutOfMemory)
    return status;
  if (status.code != Code::kDeviceLost) {
    const cudaError_t state = cudaStreamQuery(copyStream_);
    if (!isSticky(state)) return status;
    Status found = cudaFailure(state, status.message);
    found.step = status.step;
    status = std::move(found);
  }
  std::lock_guard lock(lossMutex_);
  if (!lost_.load(std::memory_order_relaxed)) {
    loss_ = Status::error(Code::kDeviceLost, "device " + std::to_string(index()) + " (" +
                                                 info_.name + ") was lost: " + status.message);
    lost_.store(true, std::memory_order_release);
  }
  return status;
}

}  // namespace resnet::cuda
