#include "cuda/workshop.h"

#include "cuda/nvml.h"

namespace resnet::cuda {

Result<EngineEnvironment> engineEnvironment(const DeviceInfo& device) {
  int driver = 0;
  RESNET_RETURN_IF_CUDA(cudaDriverGetVersion(&driver), "asking for the driver's version");
  auto library = openCudnn();
  if (!library.ok()) return library.takeStatus();
  EngineEnvironment environment;
  environment.cudnn = library.value().version;
  environment.frontend = cudnnFrontendVersion();
  environment.capabilityMajor = device.capabilityMajor;
  environment.capabilityMinor = device.capabilityMinor;
  environment.multiprocessors = device.multiprocessors;
  environment.device = device.name;
  environment.driver = std::to_string(driver);
  if (const std::string build = driverBuild(); !build.empty()) environment.driver += " " + build;
  environment.kernels = RESNET_KERNELS_DIGEST;
  return environment;
}

Status Workshop::open(Device& device, const CompileOptions& options, const Control& control) {
  if (!options.engineCache.empty()) {
    auto environment = engineEnvironment(device.info());
    if (!environment.ok()) return environment.takeStatus();
    cache.emplace(options.engineCache, environment.take());
    choose.cache = &*cache;
  }
  choose.autotune = options.autotune;
  choose.deterministic = options.deterministic;
  choose.graphs = options.graphs;
  choose.workspaceLimit = options.workspaceLimit;
  choose.control = &control;
  choose.allocate = [&device](size_t bytes) -> Result<std::shared_ptr<void>> {
    auto memory = device.allocate(MemoryKind::kArenas, bytes, "the buffers of the engines' race");
    if (!memory.ok()) return memory.takeStatus();
    auto owner = std::make_shared<DeviceMemory>(memory.take());
    return std::shared_ptr<void>(owner, owner->data());
  };
  return make(stream);
}

}  // namespace resnet::cuda
