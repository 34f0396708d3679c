// The entry points of the simulated cuDNN.
#include <cudnn.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>

#include "test/cuda/simulated/bridge.h"
#include "test/cuda/simulated/cudnn/execute.h"

using namespace resnet::simulated;

struct cudnnContext {
  cudaStream_t stream = nullptr;
  std::atomic<bool> inUse{false};
};

namespace {

// What a cudnnBackendDescriptor_t points to: getting an attribute may give it another descriptor.
struct Box {
  DescriptorPointer descriptor;
};

thread_local std::string lastMessage;

cudnnStatus_t fail(cudnnStatus_t status, const std::string& why) {
  if (status != CUDNN_STATUS_SUCCESS) lastMessage = why;
  return status;
}

cudnnStatus_t enter(const char* name, bool plain) {
  return fail(statusOf(resnetSimulatedCall(name, plain ? 1 : 0)), name);
}

Descriptor& of(cudnnBackendDescriptor_t descriptor) {
  return *static_cast<Box*>(descriptor)->descriptor;
}

// One thread at a time. Relaxed: a stricter order would be one that cuDNN does not give, and ThreadSanitizer would find
// nothing where two threads take turns without a lock.
class Use {
 public:
  explicit Use(cudnnHandle_t handle)
      : handle_(handle), free_(!handle->inUse.exchange(true, std::memory_order_relaxed)) {
    if (!free_) resnetSimulatedViolate("cuDNN: two threads use one handle at the same time");
  }
  ~Use() {
    if (free_) handle_->inUse.store(false, std::memory_order_relaxed);
  }

 private:
  cudnnHandle_t handle_;
  bool free_;
};

template <typename T>
cudnnStatus_t give(const std::vector<T>& values, int64_t requested, int64_t* count, void* into) {
  if (count != nullptr) *count = int64_t(values.size());
  const size_t copied = std::min(values.size(), size_t(std::max<int64_t>(requested, 0)));
  if (into != nullptr && copied > 0) std::memcpy(into, values.data(), copied * sizeof(T));
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t give(const std::vector<DescriptorPointer>& values, int64_t requested, int64_t* count,
                   void* into) {
  if (count != nullptr) *count = int64_t(values.size());
  auto** boxes = static_cast<Box**>(into);
  for (size_t i = 0; boxes != nullptr && i < values.size() && int64_t(i) < requested; ++i) {
    if (boxes[i] == nullptr) return fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
    boxes[i]->descriptor = values[i];
  }
  return CUDNN_STATUS_SUCCESS;
}

DescriptorPointer engineOf(const Descriptor& from) {
  auto engine = std::make_shared<Descriptor>(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  engine->recipe = from.recipe;
  engine->configuration = from.configuration;
  engine->finalized = true;
  return engine;
}

DescriptorPointer settingsOf(const Descriptor& from, const Configuration* configuration) {
  auto settings = std::make_shared<Descriptor>(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  settings->recipe = from.recipe;
  settings->configuration = configuration;
  settings->finalized = true;
  return settings;
}

std::vector<DescriptorPointer> knobsOf(const Configuration& configuration) {
  std::vector<DescriptorPointer> knobs;
  for (const auto& [type, value] : configuration.knobs) {
    auto choice = std::make_shared<Descriptor>(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    const auto set = [&](int name, cudnnBackendAttributeType_t kind, const void* from) {
      const auto* bytes = static_cast<const uint8_t*>(from);
      choice->attributes[name] = {kind, 1, {bytes, bytes + elementBytes(kind)}, {}};
    };
    set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, &type);
    set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, &value);
    choice->finalized = true;
    knobs.push_back(std::move(choice));
  }
  return knobs;
}

std::vector<cudnnBackendNumericalNote_t> numericalNotes(const Descriptor& engine) {
  std::vector<cudnnBackendNumericalNote_t> notes;
  if (engine.configuration->tensorCores) notes.push_back(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
  if (!engine.configuration->deterministic) notes.push_back(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
  return notes;
}

}  // namespace

extern "C" {

size_t cudnnGetVersion() { return resnetSimulatedCudnnVersion(); }
size_t cudnnGetMaxDeviceVersion() { return 120; }
size_t cudnnGetCudartVersion() { return CUDART_VERSION; }

const char* cudnnGetErrorString(cudnnStatus_t status) {
  static thread_local char text[60];
  std::snprintf(text, sizeof text, "CUDNN_STATUS of the simulation: %d", int(status));
  return text;
}

void cudnnGetLastErrorString(char* message, size_t bytes) {
  std::snprintf(message, bytes, "%s", lastMessage.c_str());
  lastMessage.clear();
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  const cudnnStatus_t status = enter("cudnnCreate", false);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  *handle = new cudnnContext;
  resnetSimulatedCount("cuDNN handles", 1);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  const cudnnStatus_t status = enter("cudnnDestroy", false);
  delete handle;
  resnetSimulatedCount("cuDNN handles", -1);
  return status;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  const cudnnStatus_t status = enter("cudnnSetStream", false);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (resnetSimulatedStream(stream) == 0) return fail(CUDNN_STATUS_BAD_PARAM, "no such stream");
  const Use use(handle);
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  const cudnnStatus_t status = enter("cudnnGetStream", false);
  *stream = handle->stream;
  return status;
}

cudnnStatus_t cudnnGetProperty(libraryPropertyType type, int* value) {
  const int version = int(resnetSimulatedCudnnVersion());
  *value = type == MAJOR_VERSION   ? version / 10000
           : type == MINOR_VERSION ? version / 100 % 100
                                   : version % 100;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t* descriptor) {
  *descriptor = nullptr;
  const cudnnStatus_t status = enter("cudnnBackendCreateDescriptor", true);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  *descriptor = new Box{std::make_shared<Descriptor>(type)};
  resnetSimulatedCount("cuDNN descriptors", 1);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  if (descriptor == nullptr) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  const cudnnStatus_t status = enter("cudnnBackendDestroyDescriptor", true);
  delete static_cast<Box*>(descriptor);
  resnetSimulatedCount("cuDNN descriptors", -1);
  return status;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void* elements) {
  const cudnnStatus_t status = enter("cudnnBackendSetAttribute", true);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (descriptor == nullptr) return fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
  Descriptor& target = of(descriptor);
  if (target.finalized) return fail(CUDNN_STATUS_BAD_PARAM, "set after finalising");
  if (count < 0 || (elements == nullptr && count > 0))
    return fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no elements");
  Attribute attribute{type, count, {}, {}};
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    for (int64_t i = 0; i < count; ++i) {
      const Box* part = static_cast<Box* const*>(elements)[i];
      if (part == nullptr) return fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
      if (!part->descriptor->finalized)
        return fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "a descriptor that is not finalised");
      attribute.descriptors.push_back(part->descriptor);
    }
  } else {
    const auto* bytes = static_cast<const uint8_t*>(elements);
    attribute.bytes.assign(bytes, bytes + size_t(count) * elementBytes(type));
  }
  target.attributes[name] = std::move(attribute);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t requested,
                                       int64_t* count, void* elements) {
  // cudnn_frontend takes an engine's notes without a look at the status, and reads past its buffer when there are none: these
  // reads, of what is in the host's memory, do not fail.
  if (name != CUDNN_ATTR_ENGINE_NUMERICAL_NOTE && name != CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE) {
    const cudnnStatus_t status = enter("cudnnBackendGetAttribute", true);
    if (status != CUDNN_STATUS_SUCCESS) return status;
  }
  if (descriptor == nullptr) return fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
  const Descriptor& from = of(descriptor);
  if (!from.finalized && from.type != CUDNN_BACKEND_KERNEL_CACHE_DESCRIPTOR)
    return fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "read before finalising");
  switch (int(name)) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS: {
      std::vector<DescriptorPointer> results;
      for (const Configuration* configuration : from.heuristics)
        results.push_back(settingsOf(from, configuration));
      const cudnnStatus_t given = give(results, requested, count, elements);
      if (elements != nullptr) *count = std::min(*count, requested);
      return given;
    }
    case CUDNN_ATTR_ENGINECFG_ENGINE:
      return give(std::vector{engineOf(from)}, requested, count, elements);
    case CUDNN_ATTR_ENGINECFG_KNOB_CHOICES:
      return give(knobsOf(*from.configuration), requested, count, elements);
    case CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE:
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
      return give(std::vector{from.configuration->workspace}, requested, count, elements);
    case CUDNN_ATTR_ENGINECFG_SHARED_MEMORY_USED:
      return give(std::vector<int32_t>{48 << 10}, requested, count, elements);
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
      return give(std::vector{from.configuration->engine}, requested, count, elements);
    case CUDNN_ATTR_ENGINE_KNOB_INFO:
      return give(std::vector<DescriptorPointer>(), requested, count, elements);
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
      return give(numericalNotes(from), requested, count, elements);
    case CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE: {
      std::vector<cudnnBackendBehaviorNote_t> notes;
      if (from.configuration->runtimeCompiled)
        notes.push_back(CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION);
      return give(notes, requested, count, elements);
    }
    case CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG:
      return give(std::vector{settingsOf(from, from.configuration)}, requested, count, elements);
    case CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION: {
      const std::string text = serialisePlan(*from.recipe, *from.configuration);
      return give(std::vector<char>(text.begin(), text.end()), requested, count, elements);
    }
    case CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT:
      return give(std::vector<int64_t>{7}, requested, count, elements);
    default:
      break;
  }
  const auto found = from.attributes.find(name);
  if (found == from.attributes.end() || found->second.type != type)
    return fail(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "no such attribute, or of another type");
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
    return give(found->second.descriptors, requested, count, elements);
  if (count != nullptr) *count = found->second.count;
  const size_t bytes = std::min(found->second.bytes.size(), size_t(requested) * elementBytes(type));
  if (elements != nullptr) std::memcpy(elements, found->second.bytes.data(), bytes);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  const cudnnStatus_t status = enter("cudnnBackendFinalize", true);
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (descriptor == nullptr) return fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
  std::string why;
  const cudnnStatus_t finished = finalize(of(descriptor), why);
  of(descriptor).finalized = finished == CUDNN_STATUS_SUCCESS;
  return fail(finished, why);
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t pack) {
  if (handle == nullptr || plan == nullptr || pack == nullptr)
    return fail(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "handle, plan and variant pack");
  if (!of(plan).finalized || !of(pack).finalized)
    return fail(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "plan or variant pack is not finalised");
  const Use use(handle);
  std::string why;
  return fail(execute(handle->stream, of(plan), of(pack), why), why);
}

// No engine here fills graphs by itself; capture does.
cudnnStatus_t cudnnBackendPopulateCudaGraph(cudnnHandle_t, cudnnBackendDescriptor_t,
                                            cudnnBackendDescriptor_t, cudaGraph_t) {
  return fail(CUDNN_STATUS_NOT_SUPPORTED_CUDA_GRAPH_NATIVE_API, "no native graphs");
}
cudnnStatus_t cudnnBackendUpdateCudaGraph(cudnnHandle_t, cudnnBackendDescriptor_t,
                                          cudnnBackendDescriptor_t, cudaGraph_t) {
  return fail(CUDNN_STATUS_NOT_SUPPORTED_CUDA_GRAPH_NATIVE_API, "no native graphs");
}

// Referenced by headers of cudnn_frontend for an older interface.
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t*) {
  return CUDNN_STATUS_NOT_SUPPORTED;
}
cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t, cudnnDataType_t,
                                         cudnnTensorFormat_t, int, const int*) {
  return CUDNN_STATUS_NOT_SUPPORTED;
}
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t) {
  return CUDNN_STATUS_NOT_SUPPORTED;
}
cudnnStatus_t cudnnReorderFilterAndBias(cudnnHandle_t, const cudnnFilterDescriptor_t,
                                        cudnnReorderType_t, const void*, void*, int, const void*,
                                        void*) {
  return CUDNN_STATUS_NOT_SUPPORTED;
}

}  // extern "C"
