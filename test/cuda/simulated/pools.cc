// The entry points of the CUDA runtime for memory pools: memory that is there once its stream has come to it, and is given
// back when its stream comes to that. Until then, and after, device work that touches it faults.
#include <sys/mman.h>

#include "test/cuda/simulated/state.h"

using namespace resnet::simulated;

namespace {

Allocation* allocationOf(void* pointer) {
  for (Device& device : state().devices) {
    const auto found = device.allocations.find(uintptr_t(pointer));
    if (found != device.allocations.end()) return &found->second;
  }
  return nullptr;
}

}  // namespace

extern "C" {

cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* properties) {
  Entry entry("cudaMemPoolCreate");
  if (!entry.ok()) return entry.leave();
  if (!state().poolsSupported) return entry.leave(cudaErrorNotSupported);
  if (properties->allocType != cudaMemAllocationTypePinned ||
      properties->location.type != cudaMemLocationTypeDevice ||
      properties->location.id != currentDevice)
    return entry.leave(cudaErrorInvalidValue);
  *pool = new CUmemPoolHandle_st{currentDevice};
  state().pools.insert(*pool);
  return entry.leave();
}

// What was given back is so at the latest now.
cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  Entry entry("cudaMemPoolDestroy", Entry::kRelease);
  if (entry.code() == cudaErrorNotPermitted) return entry.leave();
  if (state().pools.count(pool) == 0) return entry.leave(cudaErrorInvalidValue);
  const int device = pool->device;
  driveDevice(entry.lock(), device);
  std::vector<void*> released;
  for (const auto& [address, allocation] : state().devices[size_t(device)].allocations)
    if (allocation.pool == pool && allocation.freed) released.push_back(allocation.data);
  for (void* pointer : released) releaseDevice(pointer);
  state().pools.erase(pool);
  delete pool;
  return entry.leave();
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t) {
  Entry entry("cudaMemPoolTrimTo");
  if (!entry.ok()) return entry.leave();
  return entry.leave(state().pools.count(pool) != 0 ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMallocFromPoolAsync(void** pointer, size_t bytes, cudaMemPool_t pool,
                                    cudaStream_t stream) {
  Entry entry("cudaMallocFromPoolAsync");
  if (!entry.ok()) return entry.leave();
  if (!validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  if (state().pools.count(pool) == 0 || bytes == 0) return entry.leave(cudaErrorInvalidValue);
  const cudaError_t refused = refuseInCapture(stream);
  if (refused != cudaSuccess) return entry.leave(refused);
  // What its stream gives back before may be used again.
  if (stream != nullptr) drive(entry.lock(), stream->tail);
  const cudaError_t code = allocateDevice(pool->device, bytes, pointer);
  if (code != cudaSuccess) return entry.leave(code);
  Allocation* allocation = allocationOf(*pointer);
  allocation->pool = pool;
  allocation->ready = false;
  return entry.leave(submit(stream, {"an allocation", [data = *pointer] {
                                       Allocation* arrived = allocationOf(data);
                                       if (arrived == nullptr) return cudaSuccess;
                                       arrived->ready = true;
                                       mprotect(arrived->mapping, arrived->mapped,
                                                PROT_READ | PROT_WRITE);
                                       return cudaSuccess;
                                     }}));
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  Entry entry("cudaFreeAsync", Entry::kRelease);
  if (pointer == nullptr || entry.code() == cudaErrorNotPermitted) return entry.leave();
  if (!validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  Allocation* allocation = allocationOf(pointer);
  if (allocation == nullptr || allocation->pool == nullptr || allocation->freed) {
    violation("cudaFreeAsync of what no pool gave, or freed before");
    return entry.leave(cudaErrorInvalidValue);
  }
  allocation->freed = true;
  const cudaError_t lost = state().devices[size_t(allocation->device)].lost;
  if (lost != cudaSuccess) {  // no work comes to it any more
    releaseDevice(pointer);
    return entry.leave(lost);
  }
  return entry.leave(submit(stream, {"a release", [pointer] {
                                       releaseDevice(pointer);
                                       return cudaSuccess;
                                     }}));
}

}  // extern "C"
