// Settings, counts and reports of the simulated machine, and the door that every entry point goes through.
#include "test/cuda/simulated/control.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cuda/emulated/stream.h"
#include "test/cuda/simulated/bridge.h"
#include "test/cuda/simulated/state.h"

namespace resnet::simulated {

thread_local int currentDevice = 0;
thread_local cudaError_t lastError = cudaSuccess;
thread_local bool inHostFunction = false;

namespace {

// For processes that have only their environment to be told by; reset() goes back to the constants.
size_t setting(const char* name, size_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : size_t(std::strtoull(text, nullptr, 10));
}

}  // namespace

// Never destroyed: the device's thread and static objects of the program may outlive main().
State& state() {
  static State* all = [] {
    auto* made = new State;
    made->devices.resize(setting("RESNET_SIMULATED_DEVICES", 1));
    made->driverVersion = int(setting("RESNET_SIMULATED_DRIVER", size_t(made->driverVersion)));
    made->cudnnVersion = setting("RESNET_SIMULATED_CUDNN", made->cudnnVersion);
    made->nvml = int(setting("RESNET_SIMULATED_NVML", size_t(made->nvml)));
    if (const char* build = std::getenv("RESNET_SIMULATED_DRIVER_BUILD")) made->driverBuild = build;
    return made;
  }();
  return *all;
}

bool losesDevice(cudaError_t code) {
  switch (code) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
      return true;
    default:
      return false;
  }
}

void violation(const std::string& text) {
  State& all = state();
  ++all.violations;
  std::fprintf(stderr, "simulated device: %s\n", text.c_str());
  if (all.violationText.size() < 4000) all.violationText += text + "\n";
}

Entry::Entry(const char* name, Kind kind) : lock_(state().mutex) {
  State& all = state();
  if (inHostFunction) {
    violation(std::string(name) + " in a host function, which may not call CUDA");
    code_ = cudaErrorNotPermitted;
    return;
  }
  ++all.calls;
  if (all.failCall != 0 && all.calls == all.failCall) {
    all.failCall = 0;
    all.failedCall = name;
    code_ = all.failCallCode;
    if (losesDevice(code_) && size_t(currentDevice) < all.devices.size()) device().lost = code_;
    return;
  }
  if (all.driverVersion < CUDART_VERSION / 1000 * 1000) {
    code_ = cudaErrorInsufficientDriver;
  } else if (all.devices.empty()) {
    code_ = cudaErrorNoDevice;
  } else if (kind != kPlain && size_t(currentDevice) >= all.devices.size()) {
    code_ = cudaErrorInvalidDevice;
  } else if (kind != kPlain && device().lost != cudaSuccess) {
    code_ = device().lost;
    orderStopped(&device());
  }
}

cudaError_t Entry::leave(cudaError_t code) {
  if (code_ == cudaSuccess) code_ = code;
  if (code_ != cudaSuccess && code_ != cudaErrorNotReady) lastError = code_;
  return code_;
}

namespace {

size_t copyText(const std::string& from, char* text, size_t bytes) {
  if (text != nullptr && bytes > 0) {
    const size_t length = std::min(from.size(), bytes - 1);
    std::memcpy(text, from.data(), length);
    text[length] = 0;
  }
  return from.size();
}

}  // namespace

}  // namespace resnet::simulated

using namespace resnet::simulated;

extern "C" {

void resnetSimulatedReset() {
  State& all = state();
  Lock lock(all.mutex);
  all.changed.wait(lock, [&] { return !all.busy; });
  // Their contexts go; the device's thread finds nothing left to do.
  for (const OperationPointer& operation : all.pending) {
    operation->done = true;
    operation->work = nullptr;
    operation->after.clear();
  }
  all.pending.clear();
  all.wanted.clear();
  all.defaultTail.clear();
  all.streams.clear();
  all.events.clear();
  all.graphs.clear();
  all.executables.clear();
  all.captures.clear();
  all.foreign.clear();
  forgetMemory();
  all.devices.assign(1, Device());
  all.driverVersion = 13000;
  all.driverBuild = "580.95.05";
  all.cudnnVersion = 92400;
  all.memoryLimit = size_t{8} << 30;
  all.scheduleSeed = 0;
  all.pace = 1;
  all.nvml = kNvmlWorks;
  all.pools.clear();
  all.poolsSupported = true;
  all.l2Bytes = size_t{50} << 20;
  all.calls = all.failCall = all.works = all.failWork = 0;
  all.failedCall.clear();
  all.pageableCopies = all.violations = 0;
  all.violationText.clear();
  currentDevice = 0;
  lastError = cudaSuccess;
}

void resnetSimulatedSetDeviceCount(int count) {
  Lock lock(state().mutex);
  state().devices.resize(size_t(count));
}
void resnetSimulatedSetCapability(int device, int major) {
  Lock lock(state().mutex);
  state().devices.at(size_t(device)).major = major;
}
void resnetSimulatedSetDriverVersion(int version) {
  Lock lock(state().mutex);
  state().driverVersion = version;
}
void resnetSimulatedSetCudnnVersion(size_t version) {
  Lock lock(state().mutex);
  state().cudnnVersion = version;
}
void resnetSimulatedSetMemoryLimit(size_t bytes) {
  Lock lock(state().mutex);
  state().memoryLimit = bytes;
}
void resnetSimulatedSetNvml(int how) {
  Lock lock(state().mutex);
  state().nvml = how;
}
int resnetSimulatedNvml() {
  Lock lock(state().mutex);
  return state().nvml;
}
const char* resnetSimulatedDriverBuild() {
  Lock lock(state().mutex);
  return state().driverBuild.c_str();
}
void resnetSimulatedSetPools(bool supported) {
  Lock lock(state().mutex);
  state().poolsSupported = supported;
}
void resnetSimulatedSetPace(double times) {
  Lock lock(state().mutex);
  state().pace = times;
}
void resnetSimulatedSetL2Bytes(size_t bytes) {
  Lock lock(state().mutex);
  state().l2Bytes = bytes;
}
void resnetSimulatedSetSchedule(uint64_t seed) {
  Lock lock(state().mutex);
  state().scheduleSeed = seed;
  state().random.seed(seed);
}

uint64_t resnetSimulatedCallCount() {
  Lock lock(state().mutex);
  return state().calls;
}
const char* resnetSimulatedFailedCall() {
  Lock lock(state().mutex);
  return state().failedCall.c_str();
}
void resnetSimulatedFailAt(uint64_t n, cudaError_t code) {
  Lock lock(state().mutex);
  state().calls = 0;
  state().failCall = n;
  state().failCallCode = code;
  state().failedCall.clear();
}
void resnetSimulatedFailWorkAt(uint64_t n, cudaError_t code) {
  Lock lock(state().mutex);
  state().works = 0;
  state().failWork = n;
  state().failWorkCode = code;
}
uint64_t resnetSimulatedWorkCount() {
  Lock lock(state().mutex);
  return state().works;
}

size_t resnetSimulatedMemoryUsed(int device) {
  Lock lock(state().mutex);
  return state().devices.at(size_t(device)).used;
}
size_t resnetSimulatedPeakMemory(int device) {
  Lock lock(state().mutex);
  return state().devices.at(size_t(device)).peak;
}
size_t resnetSimulatedPageableCopies() {
  Lock lock(state().mutex);
  return state().pageableCopies;
}

size_t resnetSimulatedLeaks(char* text, size_t bytes) {
  State& all = state();
  Lock lock(all.mutex);
  size_t count = 0;
  std::string report;
  const auto add = [&](const std::string& kind, size_t live) {
    count += live;
    if (live > 0) report += std::to_string(live) + " " + kind + "\n";
  };
  for (const Device& device : all.devices)
    for (const auto& [address, allocation] : device.allocations)
      add("allocation of " + std::to_string(allocation.bytes) + " bytes, number " +
              std::to_string(allocation.number),
          1);
  for (const auto& [address, allocation] : all.pinned)
    add("pinned allocation of " + std::to_string(allocation.bytes) + " bytes, number " +
            std::to_string(allocation.number),
        1);
  add("memory pools", all.pools.size());
  add("streams", all.streams.size());
  add("events", all.events.size());
  add("graphs", all.graphs.size());
  add("executable graphs", all.executables.size());
  add("captures", all.captures.size());
  for (const auto& [kind, live] : all.foreign) add(kind, size_t(live));
  copyText(report, text, bytes);
  return count;
}

size_t resnetSimulatedViolations(char* text, size_t bytes) {
  Lock lock(state().mutex);
  copyText(state().violationText, text, bytes);
  return state().violations;
}

// What the emulated kernels and the simulated cuDNN call.

cudaError_t resnetSimulatedEnqueueTimed(const char* name, cudaStream_t stream, double microseconds,
                                        void (*run)(void*), void* context, void (*drop)(void*)) {
  Entry entry(name);
  const std::shared_ptr<void> owned(context, drop);
  if (!entry.ok()) return entry.leave();
  if (!validStream(stream)) return entry.leave(cudaErrorInvalidResourceHandle);
  return entry.leave(submit(stream, {name,
                                     [owned, run] {
                                       run(owned.get());
                                       return cudaSuccess;
                                     },
                                     false, microseconds}));
}

cudaError_t resnetSimulatedEnqueue(cudaStream_t stream, void (*run)(void*), void* context,
                                   void (*drop)(void*)) {
  return resnetSimulatedEnqueueTimed("a kernel launch", stream, 3, run, context, drop);
}

cudaError_t resnetSimulatedCall(const char* name, int plain) {
  Entry entry(name, plain != 0 ? Entry::kPlain : Entry::kDevice);
  return entry.code();
}

int resnetSimulatedHolds(const void* pointer, size_t bytes) {
  Lock lock(state().mutex);
  return findDevice(pointer, bytes) != nullptr ? 1 : 0;
}

void resnetSimulatedCount(const char* kind, int change) {
  Lock lock(state().mutex);
  state().foreign[kind] += change;
}

size_t resnetSimulatedCudnnVersion() {
  Lock lock(state().mutex);
  return state().cudnnVersion;
}

void resnetSimulatedViolate(const char* text) {
  Lock lock(state().mutex);
  violation(text);
}

// For device work, which runs with the lock held.
void resnetSimulatedViolateInWork(const char* text) { violation(text); }

int resnetSimulatedStream(cudaStream_t stream) {
  Lock lock(state().mutex);
  return validStream(stream) ? 1 : 0;
}

}  // extern "C"
