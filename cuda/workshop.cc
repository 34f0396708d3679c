#include "cuda/workshop.h"

namespace resnet::cuda {

Status Workshop::open(Device& device, const CompileOptions& options, const Control& control) {
  if (!options.engineCache.empty()) {
    const DeviceInfo& info = device.info();
    int driver = 0;
    RESNET_RETURN_IF_CUDA(cudaDriverGetVersion(&driver), "asking for the driver's version");
    auto library = openCudnn();
    if (!library.ok()) return library.takeStatus();
    EngineEnvironment environment;
    environment.cudnn = library.value().version;
    environment.frontend = cudnnFrontendVersion();
    environment.capabilityMajor = info.capabilityMajor;
    environment.capabilityMinor = info.capabilityMinor;
    environment.multiprocessors = info.multiprocessors;
    environment.device = info.name;
    environment.driver = std::to_string(driver);
    cache.emplace(options.engineCache, environment);
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
