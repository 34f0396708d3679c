// What ThreadSanitizer must find in programs that use the simulated device wrongly, and must not where they use it rightly:
// scripts/sanitize.mjs runs each by its name. The machine does one thing at a time behind one lock, so that only what
// simulated/order.h tells the sanitizer can show these races.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

constexpr size_t kBytes = 4096;

void must(cudaError_t code) {
  if (code == cudaSuccess) return;
  std::printf("unexpected: %s\n", cudaGetErrorString(code));
  std::exit(3);
}

struct Machine {
  Machine() {
    must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    must(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    must(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    must(cudaHostAlloc(reinterpret_cast<void**>(&pinned), kBytes, cudaHostAllocDefault));
    must(cudaMalloc(reinterpret_cast<void**>(&device), kBytes));
    std::memset(pinned, 1, kBytes);
  }
  void upload() { must(cudaMemcpyAsync(device, pinned, kBytes, cudaMemcpyHostToDevice, stream)); }
  void download(cudaStream_t on) {
    must(cudaMemcpyAsync(pinned, device, kBytes, cudaMemcpyDeviceToHost, on));
  }
  void wait(cudaStream_t on) { must(cudaStreamSynchronize(on)); }

  cudaStream_t stream = nullptr, other = nullptr;
  cudaEvent_t event = nullptr;
  unsigned char *pinned = nullptr, *device = nullptr;
};

// Memory of the host is written again before the upload from it has been waited for.
void overwrite(Machine& machine) {
  machine.upload();
  machine.pinned[7] = 2;
  machine.wait(machine.stream);
}

// A result is read when another stream than the download's has been waited for.
void wrongStream(Machine& machine) {
  machine.upload();
  machine.wait(machine.stream);
  machine.download(machine.stream);
  machine.wait(machine.other);
  std::printf("read %d\n", machine.pinned[7]);
  machine.wait(machine.stream);
}

// A download into what an upload reads, on a stream that does not wait for it.
void noEvent(Machine& machine) {
  machine.upload();
  machine.wait(machine.stream);
  machine.upload();
  machine.download(machine.other);
  machine.wait(machine.other);
  machine.wait(machine.stream);
}

// What a host function writes is read before its stream has been waited for.
void hostFunction(Machine& machine) {
  static int written = 0;
  must(cudaLaunchHostFunc(machine.stream, [](void*) { ++written; }, nullptr));
  std::printf("read %d\n", written);
  machine.wait(machine.stream);
}

// All of that with the waits that are due: silent.
void right(Machine& machine) {
  static int written = 0;
  for (int i = 0; i < 3; ++i) {
    machine.upload();
    machine.wait(machine.stream);
    machine.pinned[7] = 2;
    machine.upload();
    must(cudaEventRecord(machine.event, machine.stream));
    must(cudaStreamWaitEvent(machine.other, machine.event, 0));
    machine.download(machine.other);
    must(cudaLaunchHostFunc(machine.other, [](void*) { ++written; }, nullptr));
    if (i == 0) machine.wait(machine.other);
    must(cudaEventRecord(machine.event, machine.other));
    must(cudaEventSynchronize(machine.event));
    if (machine.pinned[7] != 2 || written != i + 1) std::exit(3);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string fault = argc == 2 ? argv[1] : "";
  Machine machine;
  if (fault == "overwrite")
    overwrite(machine);
  else if (fault == "stream")
    wrongStream(machine);
  else if (fault == "event")
    noEvent(machine);
  else if (fault == "host-function")
    hostFunction(machine);
  else if (fault == "right")
    right(machine);
  else
    return 2;
  std::printf("survived '%s'\n1 passed, 0 failed\n", fault.c_str());
  return 0;
}
