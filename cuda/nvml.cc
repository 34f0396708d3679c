#include "cuda/nvml.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <mutex>
#include <vector>

namespace resnet::cuda {
namespace {

constexpr const char* kFileName = "libnvidia-ml.so.1";
constexpr const char* kModuleFile = "/proc/driver/nvidia/version";
constexpr int kSuccess = 0, kInsufficientSize = 7;
constexpr unsigned long long kNotAvailable = ~0ull;

// As the library declares them; the second and third version of the call share this one.
struct RunningProcess {
  unsigned pid;
  unsigned long long usedBytes;
  unsigned gpuInstance, computeInstance;
};
using Handle = struct NvmlDevice*;

struct EntryPoints {
  int (*init)() = nullptr;
  const char* (*errorString)(int) = nullptr;
  int (*version)(char* text, unsigned bytes) = nullptr;
  int (*build)(char* text, unsigned bytes) = nullptr;  // may be missing
  int (*deviceByUuid)(const char* uuid, Handle* device) = nullptr;
  int (*processes)(Handle device, unsigned* count, RunningProcess* list) = nullptr;
};

template <typename Function>
bool resolve(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

// Fills `entry`; empty, or why the library does not do.
std::string load(EntryPoints& entry) {
  void* library = dlopen(kFileName, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* words = dlerror();
    return words == nullptr ? std::string(kFileName) + " cannot be opened" : words;
  }
  EntryPoints found;
  const char* missing = nullptr;
  const auto need = [&](const char* name, auto& function) {
    if (!resolve(library, name, function) && missing == nullptr) missing = name;
  };
  need("nvmlInit_v2", found.init);
  need("nvmlErrorString", found.errorString);
  need("nvmlSystemGetNVMLVersion", found.version);
  need("nvmlDeviceGetHandleByUUID", found.deviceByUuid);
  resolve(library, "nvmlSystemGetDriverVersion", found.build);
  // The first version's list has other fields: such a driver is too old to be asked.
  if (!resolve(library, "nvmlDeviceGetComputeRunningProcesses_v3", found.processes))
    need("nvmlDeviceGetComputeRunningProcesses_v2", found.processes);
  if (missing != nullptr) {
    dlclose(library);
    return std::string(kFileName) + " has no " + missing + ": the driver is older than 450";
  }
  entry = found;
  return {};
}

std::mutex mutex;
EntryPoints entry;
NvmlLibrary opened;
std::string build;  // of the driver, once the library has said it

std::string failure(const char* what, int code) {
  return std::string(what) + ": " + entry.errorString(code) + " (" + std::to_string(code) + ")";
}

// With the mutex held.
const NvmlLibrary& open() {
  if (!opened.version.empty()) return opened;
  if (entry.init == nullptr) {
    opened.reason = load(entry);
    if (!opened.reason.empty()) return opened;
  }
  char text[96] = "";
  int code = entry.init();
  if (code == kSuccess) code = entry.version(text, sizeof text);
  opened.reason = code == kSuccess ? "" : failure("nvmlInit_v2", code);
  if (code != kSuccess) return opened;
  opened.version = text;
  if (entry.build != nullptr && entry.build(text, sizeof text) == kSuccess) build = text;
  return opened;
}

// The device of a UUID; a slice of one (MIG) has another prefix there.
int find(const std::string& uuid, Handle& device) {
  const int code = entry.deviceByUuid(uuid.c_str(), &device);
  if (code == kSuccess || uuid.rfind("GPU-", 0) != 0) return code;
  return entry.deviceByUuid(("MIG-" + uuid.substr(4)).c_str(), &device);
}

}  // namespace

NvmlLibrary openNvml() {
  const std::lock_guard lock(mutex);
  return open();
}

ProcessMemory processMemory(const std::string& uuid) {
  const std::lock_guard lock(mutex);
  if (open().version.empty()) return {0, opened.reason};
  Handle device = nullptr;
  int code = find(uuid, device);
  if (code != kSuccess) return {0, failure("nvmlDeviceGetHandleByUUID", code)};
  // Processes may start between the question how many there are and the list.
  constexpr int kTries = 4;
  std::vector<RunningProcess> list(16);
  unsigned count = 0;
  for (int i = 0; i < kTries; ++i) {
    count = unsigned(list.size());
    code = entry.processes(device, &count, list.data());
    if (code != kInsufficientSize) break;
    list.resize(count + 16);
  }
  if (code != kSuccess) return {0, failure("nvmlDeviceGetComputeRunningProcesses", code)};
  const auto own = unsigned(getpid());
  for (unsigned i = 0; i < count; ++i) {
    if (list[i].pid != own) continue;
    if (list[i].usedBytes == kNotAvailable)
      return {0, "the driver does not count memory by process on this device"};
    return {size_t(list[i].usedBytes), {}};
  }
  return {0, "the driver lists no process " + std::to_string(own) +
                 " on the device; in a container it knows processes by other numbers"};
}

std::string driverBuild() {
  {
    const std::lock_guard lock(mutex);
    if (!open().version.empty() && !build.empty()) return build;
  }
  std::ifstream file(kModuleFile);
  return driverBuildIn(std::string(std::istreambuf_iterator<char>(file), {}));
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep ...": the first word of digits and dots. What stands
// before it differs between the modules; the second line has the compiler's version.
std::string driverBuildIn(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789", kNumber = "0123456789.";
  text = text.substr(0, text.find('\n'));
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    const bool number = !word.empty() && word.find_first_not_of(kNumber) == word.npos &&
                        kDigits.find(word.front()) != kDigits.npos && word.find('.') != word.npos;
    if (number) return std::string(word);
    text.remove_prefix(std::min(text.size(), word.size() + 1));
  }
  return {};
}

}  // namespace resnet::cuda
