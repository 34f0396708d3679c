// The driver's management library, of the simulated machine: this process has what is allocated, another has a gigabyte.
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "test/cuda/simulated/control.h"

namespace {

constexpr int kSuccess = 0, kUninitialized = 1, kNotFound = 6, kInsufficientSize = 7,
              kDriverNotLoaded = 9;

struct RunningProcess {
  unsigned pid;
  unsigned long long usedBytes;
  unsigned gpuInstance, computeInstance;
};
bool initialised = false;

}  // namespace

extern "C" {

int nvmlInit_v2() {
  if (resnetSimulatedNvml() == kNvmlFails) return kDriverNotLoaded;
  initialised = true;
  return kSuccess;
}
const char* nvmlErrorString(int code) {
  return code == kDriverNotLoaded ? "Driver Not Loaded" : "an error of the simulation";
}
int nvmlSystemGetNVMLVersion(char* text, unsigned bytes) {
  std::snprintf(text, bytes, "13.580.0");
  return initialised ? kSuccess : kUninitialized;
}
int nvmlSystemGetDriverVersion(char* text, unsigned bytes) {
  std::snprintf(text, bytes, "%s", resnetSimulatedDriverBuild());
  return initialised ? kSuccess : kUninitialized;
}
int nvmlDeviceGetHandleByUUID(const char* uuid, void** device) {
  if (!initialised) return kUninitialized;
  const bool slice = resnetSimulatedNvml() == kNvmlSlice;
  if (std::strncmp(uuid, slice ? "MIG-" : "GPU-", 4) != 0) return kNotFound;
  // Its last byte is the device's index; a handle is that plus one.
  unsigned index = 0;
  if (std::sscanf(uuid + std::strlen(uuid) - 2, "%2x", &index) != 1) return kNotFound;
  *device = reinterpret_cast<void*>(size_t{index} + 1);
  return kSuccess;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void* device, unsigned* count, RunningProcess* list) {
  if (!initialised) return kUninitialized;
  constexpr unsigned kOthers = 20;  // more than fit at first
  const int kind = resnetSimulatedNvml();
  const unsigned all = kind == kNvmlForeignNumbers ? kOthers : kOthers + 1;
  const bool fits = *count >= all;
  *count = all;
  if (!fits) return kInsufficientSize;
  for (unsigned i = 0; i < kOthers; ++i) list[i] = {1, 1u << 30, 0, 0};
  if (all > kOthers)
    list[kOthers] = {unsigned(getpid()),
                     kind == kNvmlCountsNothing
                         ? ~0ull
                         : resnetSimulatedMemoryUsed(int(reinterpret_cast<size_t>(device)) - 1),
                     0, 0};
  return kSuccess;
}

}  // extern "C"
