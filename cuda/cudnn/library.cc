#include "cuda/cudnn/library.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <mutex>
#include <sstream>
#include <utility>
#include <vector>

#include "cuda/error.h"

namespace resnet::cuda {
namespace {

constexpr const char* kFileName = "libcudnn.so.9";

// X(entry point): what cudnn_frontend 1.18 calls for a convolution, and what is called here.
#define RESNET_CUDNN_ENTRY_POINTS(X) \
  X(cudnnCreate)                     \
  X(cudnnDestroy)                    \
  X(cudnnSetStream)                  \
  X(cudnnGetStream)                  \
  X(cudnnGetVersion)                 \
  X(cudnnGetErrorString)             \
  X(cudnnGetLastErrorString)         \
  X(cudnnBackendCreateDescriptor)    \
  X(cudnnBackendDestroyDescriptor)   \
  X(cudnnBackendSetAttribute)        \
  X(cudnnBackendGetAttribute)        \
  X(cudnnBackendFinalize)            \
  X(cudnnBackendExecute)

struct EntryPoints {
#define RESNET_DECLARE(name) decltype(&::name) name = nullptr;
  RESNET_CUDNN_ENTRY_POINTS(RESNET_DECLARE)
#undef RESNET_DECLARE
};

// Written once, under the mutex of openCudnn(), before anything that calls cuDNN can exist.
EntryPoints entry;
thread_local cudnnStatus_t lastFailure = CUDNN_STATUS_SUCCESS;

cudnnStatus_t keep(cudnnStatus_t status) {
  if (status != CUDNN_STATUS_SUCCESS) lastFailure = status;
  return status;
}

// Where a folder that someone names may hold the library: itself, an installation, the
// site-packages of Python or an environment around them.
std::vector<std::string> candidatesIn(const std::string& folder) {
  std::vector<std::string> paths;
  for (const char* part : {"/", "/lib/", "/lib64/", "/nvidia/cudnn/lib/"})
    paths.push_back(folder + part + kFileName);
  glob_t found = {};
  const std::string pattern = folder + "/lib/python3*/site-packages/nvidia/cudnn/lib/" + kFileName;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0)
    paths.insert(paths.end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return paths;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

void addFolders(const char* variable, std::vector<std::string>& paths) {
  std::stringstream folders(environment(variable));
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (folder.empty()) continue;
    for (std::string& path : candidatesIn(folder)) paths.push_back(std::move(path));
  }
}

// The search order; convolution.h and the documentation state it.
std::vector<std::string> searchOrder() {
  if (const std::string path = environment("RESNET_CUDNN"); !path.empty()) return {path};
  std::vector<std::string> paths;
  addFolders("RESNET_CUDNN_DIR", paths);
  paths.emplace_back(kFileName);  // LD_LIBRARY_PATH, the loader's cache, the system's folders
  for (const char* variable : {"CUDNN_PATH", "CUDNN_HOME", "VIRTUAL_ENV", "CONDA_PREFIX"})
    addFolders(variable, paths);
  for (std::string& path : candidatesIn("/usr/local/cuda")) paths.push_back(std::move(path));
  return paths;
}

std::string resolvedPath(void* symbol, const std::string& name) {
  Dl_info info = {};
  return dladdr(symbol, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : name;
}

// Fills `entry` from one file, or says why that file does not do. The first cuDNN of a version that does
// not do is kept in `otherVersion`: to say that none was found would send people the wrong way.
Result<CudnnLibrary> openFile(const std::string& path, std::string& otherVersion) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return Status::error(Code::kUnavailable, dlerror());
  EntryPoints found;
  const char* missing = nullptr;
#define RESNET_RESOLVE(name)                                                 \
  found.name = reinterpret_cast<decltype(found.name)>(dlsym(handle, #name)); \
  if (found.name == nullptr && missing == nullptr) missing = #name;
  RESNET_CUDNN_ENTRY_POINTS(RESNET_RESOLVE)
#undef RESNET_RESOLVE
  if (missing != nullptr) {
    dlclose(handle);
    return Status::error(Code::kUnavailable, path + " has no " + missing + ": not cuDNN 9");
  }
  const size_t version = found.cudnnGetVersion();
  if (version < kMinimumCudnn || version >= 100000) {
    const std::string is = resolvedPath(reinterpret_cast<void*>(found.cudnnGetVersion), path) +
                           " is cuDNN " + cudnnVersionText(version) + ", expected 9 from " +
                           cudnnVersionText(kMinimumCudnn) + " on";
    if (otherVersion.empty()) otherVersion = is;
    dlclose(handle);
    return Status::error(Code::kUnavailable, is);
  }
  entry = found;  // never closed: cuDNN registers exit handlers of its own
  return CudnnLibrary{resolvedPath(reinterpret_cast<void*>(found.cudnnGetVersion), path), version};
}

}  // namespace

std::string cudnnVersionText(size_t version) {
  // Until 8.x the major version was worth 1000.
  const size_t major = version >= 10000 ? version / 10000 : version / 1000;
  const size_t minor = version >= 10000 ? version / 100 % 100 : version / 100 % 10;
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(version % 100);
}

Result<CudnnLibrary> openCudnn() {
  static std::mutex mutex;
  static CudnnLibrary opened;
  const std::lock_guard lock(mutex);
  if (opened.version != 0) return opened;
  std::string reasons, otherVersion;
  for (const std::string& path : searchOrder()) {
    Result<CudnnLibrary> library = openFile(path, otherVersion);
    if (library.ok()) return opened = library.take();
    reasons += "\n  " + library.status().message;
  }
  return Status::error(Code::kUnavailable,
                       (otherVersion.empty() ? "cuDNN 9 was not found. Install it"
                                             : otherVersion + ". Install that") +
                           " (\"pip install nvidia-cudnn-cu13\" will do) and name its folder in "
                           "RESNET_CUDNN_DIR, or "
                           "the file itself in RESNET_CUDNN. Tried:" +
                           reasons);
}

std::string brief(std::string_view text) {
  constexpr size_t kLongest = 240;
  std::string line;
  for (const char c : text.substr(0, kLongest)) {
    const bool space = c == '\n' || c == '\t' || c == ' ';
    if (!space || (!line.empty() && line.back() != ' ')) line += space ? ' ' : c;
  }
  return text.size() > kLongest ? line + "..." : line;
}

cudnnStatus_t takeCudnnFailure() { return std::exchange(lastFailure, CUDNN_STATUS_SUCCESS); }

Status cudnnError(cudnnStatus_t failure, std::string_view what) {
  char detail[512] = "";
  if (entry.cudnnGetLastErrorString != nullptr)
    entry.cudnnGetLastErrorString(detail, sizeof detail);
  std::string message = std::string(what) + ": " + cudnnGetErrorString(failure);
  if (detail[0] != '\0') message += " (" + brief(detail) + ")";

  Code code = Code::kInternal;
  switch (failure) {
    case CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED:
    case CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED:
      code = Code::kOutOfMemory;
      break;
    case CUDNN_STATUS_NOT_INITIALIZED:
      code = Code::kUnavailable;
      break;
    default:
      if (failure >= CUDNN_STATUS_NOT_SUPPORTED && failure < CUDNN_STATUS_INTERNAL_ERROR)
        code = Code::kUnsupported;
  }
  // An error that the runtime goes on reporting has taken the device's context with it.
  const cudaError_t reported = cudaPeekAtLastError();
  if (reported == cudaErrorMemoryAllocation) code = Code::kOutOfMemory;
  if (isSticky(reported)) {
    code = Code::kDeviceLost;
    message += std::string("; the device reports ") + cudaGetErrorString(reported);
  } else {
    cudaGetLastError();  // must not be found again by the next call
  }
  return Status::error(code, std::move(message));
}

}  // namespace resnet::cuda

// The entry points. Hidden, so that no other library of the process can take them for cuDNN's own.
#define RESNET_HIDDEN __attribute__((visibility("hidden")))
#define RESNET_PASS_ON(name, ...)                                 \
  using resnet::cuda::entry;                                      \
  if (entry.name == nullptr) return CUDNN_STATUS_NOT_INITIALIZED; \
  return resnet::cuda::keep(entry.name(__VA_ARGS__))

extern "C" {

RESNET_HIDDEN size_t cudnnGetVersion() {
  using resnet::cuda::entry;
  return entry.cudnnGetVersion == nullptr ? 0 : entry.cudnnGetVersion();
}
RESNET_HIDDEN const char* cudnnGetErrorString(cudnnStatus_t status) {
  using resnet::cuda::entry;
  return entry.cudnnGetErrorString == nullptr ? "cuDNN is not open"
                                              : entry.cudnnGetErrorString(status);
}
RESNET_HIDDEN void cudnnGetLastErrorString(char* message, size_t size) {
  using resnet::cuda::entry;
  if (size > 0) message[0] = '\0';
  if (entry.cudnnGetLastErrorString != nullptr) entry.cudnnGetLastErrorString(message, size);
}
RESNET_HIDDEN cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  RESNET_PASS_ON(cudnnCreate, handle);
}
RESNET_HIDDEN cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  RESNET_PASS_ON(cudnnDestroy, handle);
}
RESNET_HIDDEN cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  RESNET_PASS_ON(cudnnSetStream, handle, stream);
}
RESNET_HIDDEN cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  RESNET_PASS_ON(cudnnGetStream, handle, stream);
}
RESNET_HIDDEN cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                                         cudnnBackendDescriptor_t* descriptor) {
  RESNET_PASS_ON(cudnnBackendCreateDescriptor, type, descriptor);
}
RESNET_HIDDEN cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  RESNET_PASS_ON(cudnnBackendDestroyDescriptor, descriptor);
}
RESNET_HIDDEN cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                                     cudnnBackendAttributeName_t name,
                                                     cudnnBackendAttributeType_t type,
                                                     int64_t count, const void* elements) {
  RESNET_PASS_ON(cudnnBackendSetAttribute, descriptor, name, type, count, elements);
}
RESNET_HIDDEN cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor,
                                                     cudnnBackendAttributeName_t name,
                                                     cudnnBackendAttributeType_t type,
                                                     int64_t requested, int64_t* count,
                                                     void* elements) {
  RESNET_PASS_ON(cudnnBackendGetAttribute, descriptor, name, type, requested, count, elements);
}
RESNET_HIDDEN cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  RESNET_PASS_ON(cudnnBackendFinalize, descriptor);
}
RESNET_HIDDEN cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                                cudnnBackendDescriptor_t variantPack) {
  RESNET_PASS_ON(cudnnBackendExecute, handle, plan, variantPack);
}
}
