// Device twins of the tables' guarded memory, for the length of one call: host content goes up before, everything comes back
// after, guards included, so that what a kernel writes beside its value is seen as it is in host memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "test/cuda/kernels/device_value.h"

namespace resnet::test {

// Exact: twins end where the memory ends, so that compute-sanitizer sees the first byte beyond.
struct MirrorSettings {
  bool exact = false;
  cudaStream_t stream = nullptr;
};
inline MirrorSettings& mirrorSettings() {
  static MirrorSettings settings;
  return settings;
}

inline void mustCuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "error: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(3);  // after this a device answers nothing else
}

class Mirror {
 public:
  Mirror() = default;
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;
  ~Mirror() {
    for (const auto& [memory, twin] : twins_) cudaFree(twin);
  }

  // Where `host`, a pointer into guarded memory, is on the device.
  template <typename T>
  T* at(T* host) {
    if (host == nullptr) return nullptr;
    const auto* const address = reinterpret_cast<const unsigned char*>(host);
    const Guarded* const memory = Guarded::around(address);
    if (memory == nullptr) {
      std::fprintf(stderr, "error: a case gave a kernel memory that is not guarded\n");
      std::exit(3);
    }
    return reinterpret_cast<T*>(twinOf(*memory) + guard() + (address - memory->data()));
  }
  cuda::View at(cuda::View view) {
    view.data = at(view.data);
    return view;
  }

  // Waits for the kernel, brings all memory back, and passes its launch's error on.
  cudaError_t finish(cudaError_t launched) {
    const cudaStream_t stream = mirrorSettings().stream;
    mustCuda(cudaStreamSynchronize(stream), "running a kernel");
    for (const auto& [memory, twin] : twins_) {
      mustCuda(cudaMemcpyAsync(memory->data() - guard(), twin, memory->bytes() + 2 * guard(),
                               cudaMemcpyDeviceToHost, stream),
               "reading back");
    }
    mustCuda(cudaStreamSynchronize(stream), "reading back");
    return launched;
  }

 private:
  static size_t guard() { return mirrorSettings().exact ? 0 : Guarded::kGuard; }

  unsigned char* twinOf(const Guarded& memory) {
    const auto known = twins_.find(&memory);
    if (known != twins_.end()) return known->second;
    void* twin = nullptr;
    const size_t bytes = memory.bytes() + 2 * guard();
    mustCuda(cudaMalloc(&twin, bytes), "allocating");
    twins_[&memory] = static_cast<unsigned char*>(twin);
    // In the kernel's stream: cudaMemcpy may return before its data has arrived.
    mustCuda(cudaMemcpyAsync(twin, memory.data() - guard(), bytes, cudaMemcpyHostToDevice,
                             mirrorSettings().stream),
             "uploading");
    return static_cast<unsigned char*>(twin);
  }

  std::map<const Guarded*, unsigned char*> twins_;
};

}  // namespace resnet::test
