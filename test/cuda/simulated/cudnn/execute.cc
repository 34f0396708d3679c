#include "test/cuda/simulated/cudnn/execute.h"

#include <algorithm>
#include <cstring>

#include "test/cuda/simulated/bridge.h"

namespace resnet::simulated {

namespace {

struct Run {
  std::shared_ptr<const Recipe> recipe;
  Bindings bindings;
  void* workspace = nullptr;
  size_t workspaceBytes = 0;
  bool tf32 = false;
};

void runNow(void* context) {
  const Run& run = *static_cast<const Run*>(context);
  // Whatever a neighbour left there is gone, and nobody may rely on what is left.
  if (run.workspaceBytes > 0) std::memset(run.workspace, 0xff, run.workspaceBytes);
  runRecipe(*run.recipe, run.bindings, run.tf32);
  if (run.workspaceBytes > 0) std::memset(run.workspace, 0x7e, run.workspaceBytes);
}

void runNever(void*) {
  resnetSimulatedViolateInWork("cuDNN: a plan ran with one pointer for all its tensors");
}

struct Range {
  const uint8_t* data = nullptr;
  int64_t bytes = 0;
  const TensorShape* shape = nullptr;  // null: bytes without gaps
};

// Channel slices of one buffer interleave without touching.
bool overlap(const Range& a, const Range& b) {
  if (a.data + a.bytes <= b.data || b.data + b.bytes <= a.data) return false;
  if (a.shape == nullptr || b.shape == nullptr || a.shape->type != b.shape->type) return true;
  const int64_t pitch = a.shape->strides[3] * typeBytes(a.shape->type);
  if (pitch != b.shape->strides[3] * typeBytes(b.shape->type)) return true;
  const int64_t aBytes = a.shape->dims[1] * typeBytes(a.shape->type),
                bBytes = b.shape->dims[1] * typeBytes(b.shape->type);
  const int64_t from = ((b.data - a.data) % pitch + pitch) % pitch;
  return from < aBytes || from + bBytes > pitch;
}

}  // namespace

cudnnStatus_t statusOf(cudaError_t code) {
  switch (code) {
    case cudaSuccess:
      return CUDNN_STATUS_SUCCESS;
    case cudaErrorMemoryAllocation:
      return CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
      return CUDNN_STATUS_NOT_INITIALIZED;
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
      return CUDNN_STATUS_EXECUTION_FAILED_CUDART;
    default:
      return CUDNN_STATUS_INTERNAL_ERROR;
  }
}

cudnnStatus_t execute(cudaStream_t stream, const Descriptor& plan, const Descriptor& pack,
                      std::string& why) {
  const Recipe& recipe = *plan.recipe;
  const Configuration& configuration = *plan.configuration;
  const auto uids = pack.list<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto pointers = pack.list<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  // cudnn_frontend warms a plan up by capturing such a run into a graph that it throws away.
  if (pointers.size() > 1 && std::equal(pointers.begin() + 1, pointers.end(), pointers.begin()))
    return statusOf(
        resnetSimulatedEnqueueTimed("a convolution", stream, 0, runNever, nullptr, [](void*) {}));
  std::vector<Range> ranges;
  cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
  const auto bind = [&](const TensorShape& shape) -> void* {
    const auto found = std::find(uids.begin(), uids.end(), shape.uid);
    void* pointer = found == uids.end() ? nullptr : pointers[size_t(found - uids.begin())];
    const std::string name = "the tensor of uid " + std::to_string(shape.uid);
    if (pointer == nullptr) {
      why = name + " has no pointer";
      status = CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    } else if (uintptr_t(pointer) % uintptr_t(shape.alignment) != 0) {
      why = name + " is not aligned as its descriptor says";
      status = CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER;
    } else if (resnetSimulatedHolds(pointer, size_t(shape.bytes())) == 0) {
      why = name + " is not inside one live allocation of a device";
      status = CUDNN_STATUS_BAD_PARAM;
      resnetSimulatedViolate(("cuDNN: " + why).c_str());
    }
    ranges.push_back({static_cast<const uint8_t*>(pointer), shape.bytes(), &shape});
    return pointer;
  };
  auto run = std::make_unique<Run>();
  run->recipe = plan.recipe;
  run->bindings.y = bind(recipe.y);
  run->bindings.x = bind(recipe.x);
  run->bindings.w = bind(recipe.w);
  for (const EpilogueStage& stage : recipe.epilogue)
    run->bindings.operands.push_back(stage.relu ? nullptr : bind(stage.operand));
  if (status != CUDNN_STATUS_SUCCESS) return status;
  run->tf32 = configuration.tensorCores && recipe.x.type == CUDNN_DATA_FLOAT;
  run->workspaceBytes = size_t(configuration.workspace);
  if (run->workspaceBytes > 0) {
    run->workspace = pack.value<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, nullptr);
    if (run->workspace == nullptr ||
        resnetSimulatedHolds(run->workspace, run->workspaceBytes) == 0) {
      why = "the workspace is too small or no memory of a device";
      resnetSimulatedViolate(("cuDNN: " + why).c_str());
      return CUDNN_STATUS_BAD_PARAM;
    }
    ranges.push_back(
        {static_cast<const uint8_t*>(run->workspace), configuration.workspace, nullptr});
  }
  for (size_t i = 0; i < ranges.size(); ++i)
    for (size_t j = i + 1; j < ranges.size(); ++j) {
      const bool written = i == 0 || ranges[j].shape == nullptr;
      if (!written || !overlap(ranges[i], ranges[j])) continue;
      why = "output or workspace shares memory with another tensor";
      resnetSimulatedViolate(("cuDNN: " + why).c_str());
      return CUDNN_STATUS_BAD_PARAM;
    }
  if (configuration.fault == Configuration::kRefusesRun) {
    why = "this engine cannot be launched after all";
    return CUDNN_STATUS_NOT_SUPPORTED_BAD_LAUNCH_PARAM;
  }
  const cudaError_t code = resnetSimulatedEnqueueTimed(
      "a convolution", stream, configuration.microseconds, runNow, run.release(),
      [](void* context) { delete static_cast<Run*>(context); });
  if (code != cudaSuccess) why = std::string("launch failed: ") + cudaGetErrorName(code);
  return statusOf(code);
}

}  // namespace resnet::simulated
