// What finalising checks, which engines there are, and plans as text.
#include "test/cuda/simulated/cudnn/descriptor.h"

#include <cstdio>
#include <sstream>

#include "test/cuda/simulated/bridge.h"

namespace resnet::simulated {

// Both families, one with a large workspace, one that a determinism filter must drop, one that tf32's filter must keep, and
// two that turn out not to work: the first when its plan is made, the second when it runs. Those of matrix products are
// compiled at run time, and faster.
const std::vector<Configuration>& configurations() {
  static const std::vector<Configuration> all = {
      {4, {{CUDNN_KNOB_TYPE_TILE_SIZE, 1}}, 0, false, true, true, Configuration::kRefusesPlan, 1},
      {0, {{CUDNN_KNOB_TYPE_TILE_SIZE, 0}}, 0, false, false, true, Configuration::kNone, 12},
      {0, {{CUDNN_KNOB_TYPE_TILE_SIZE, 3}}, 0, false, false, true, Configuration::kNone, 9},
      {1, {{CUDNN_KNOB_TYPE_SPLIT_K, 2}}, 4096, false, true, true, Configuration::kNone, 7},
      {3, {}, 9 << 20, false, true, true, Configuration::kNone, 2},
      {5, {{CUDNN_KNOB_TYPE_SPLIT_K, 4}}, 512, false, true, false, Configuration::kNone, 3},
      {6, {}, 0, false, true, true, Configuration::kRefusesRun, 0.5},
      {2, {{CUDNN_KNOB_TYPE_STAGES, 3}}, 0, true, true, true, Configuration::kNone, 5},
      {12,
       {{CUDNN_KNOB_TYPE_STAGES, 1}},
       0,
       true,
       true,
       true,
       Configuration::kRefusesPlan,
       1,
       true},
      {10, {{CUDNN_KNOB_TYPE_STAGES, 2}}, 0, true, true, true, Configuration::kNone, 1.5, true},
      {11, {}, 1024, true, false, true, Configuration::kNone, 1.8, true},
  };
  return all;
}

size_t elementBytes(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR:
      return 1;
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
    case CUDNN_TYPE_FRACTION:
      return 8;
    default:
      return 4;  // int32, float and the enumerations
  }
}

namespace {

cudnnStatus_t missing(std::string& why, const char* what) {
  why = std::string("not set before finalising: ") + what;
  return CUDNN_STATUS_BAD_PARAM;
}

cudnnStatus_t finalizeTensor(const Descriptor& tensor, std::string& why) {
  const auto dims = tensor.list<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
  const auto strides = tensor.list<int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
  if ((dims.size() != 4 && dims.size() != 3) || strides.size() != dims.size()) {
    why = "a map has four dimensions and strides, a matrix three";
    return CUDNN_STATUS_NOT_SUPPORTED_SHAPE;
  }
  for (size_t d = 0; d < dims.size(); ++d)
    if (dims[d] < 1 || strides[d] < 1) {
      why = "a dimension or stride below 1";
      return CUDNN_STATUS_BAD_PARAM;
    }
  if (!tensor.has(CUDNN_ATTR_TENSOR_UNIQUE_ID)) return missing(why, "unique id");
  if (!tensor.has(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT)) return missing(why, "byte alignment");
  if (typeBytes(tensor.value(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_INT8)) == 0) {
    why = "float, half and bfloat16 are simulated";
    return CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE;
  }
  return CUDNN_STATUS_SUCCESS;
}

// The configuration that an engine's index and knobs name.
const Configuration* configurationOf(int64_t engine, const Descriptor& settings) {
  const Configuration* first = nullptr;
  const auto found = settings.attributes.find(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES);
  for (const Configuration& configuration : configurations()) {
    if (configuration.engine != engine) continue;
    if (first == nullptr) first = &configuration;
    if (found == settings.attributes.end()) return first;
    bool same = found->second.descriptors.size() == configuration.knobs.size();
    for (size_t i = 0; same && i < configuration.knobs.size(); ++i) {
      const Descriptor& choice = *found->second.descriptors[i];
      same = choice.value(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_KNOB_TYPE_COUNTS) ==
                 configuration.knobs[i].first &&
             choice.value<int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, -1) ==
                 configuration.knobs[i].second;
    }
    if (same) return &configuration;
  }
  return first;
}

cudnnStatus_t finalizePlan(Descriptor& plan, std::string& why) {
  if (plan.has(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION)) {
    if (!plan.has(CUDNN_ATTR_EXECUTION_PLAN_HANDLE) &&
        !plan.has(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP))
      return missing(why, "handle");
    const auto text = plan.list<char>(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
    return deserialisePlan(std::string(text.begin(), text.end()), plan, why);
  }
  const DescriptorPointer settings = plan.descriptor(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
  if (settings == nullptr) return missing(why, "engine configuration");
  plan.recipe = settings->recipe;
  plan.configuration = settings->configuration;
  if (plan.configuration->fault == Configuration::kRefusesPlan) {
    why = "this engine does not support the graph after all";
    return CUDNN_STATUS_NOT_SUPPORTED;
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finalizeOperation(const Descriptor& operation, std::initializer_list<int> needed,
                                std::string& why) {
  for (int name : needed) {
    const DescriptorPointer part = operation.descriptor(name);
    if (part == nullptr) return missing(why, "a part of an operation");
    if (!part->finalized) {
      why = "a part of an operation is not finalised";
      return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
    }
  }
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

cudnnStatus_t finalize(Descriptor& descriptor, std::string& why) {
  switch (descriptor.type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
      return finalizeTensor(descriptor, why);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
      return finalizeOperation(
          descriptor,
          {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
           CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC},
          why);
    case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR:
      return finalizeOperation(
          descriptor,
          {CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC,
           CUDNN_ATTR_OPERATION_MATMUL_CDESC, CUDNN_ATTR_OPERATION_MATMUL_DESC},
          why);
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
      return finalizeOperation(
          descriptor,
          {CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
           CUDNN_ATTR_OPERATION_POINTWISE_YDESC},
          why);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: {
      if (!descriptor.has(CUDNN_ATTR_OPERATIONGRAPH_OPS)) return missing(why, "operations");
      auto recipe = std::make_shared<Recipe>();
      const cudnnStatus_t status = parseGraph(descriptor, *recipe, why);
      descriptor.recipe = std::move(recipe);
      return status;
    }
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR: {
      const DescriptorPointer graph = descriptor.descriptor(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
      if (graph == nullptr || !graph->finalized) return missing(why, "operation graph");
      descriptor.recipe = graph->recipe;
      const auto mode = descriptor.value(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_HEUR_MODE_A);
      for (const Configuration& configuration : configurations()) {
        if (configuration.matmul != descriptor.recipe->matmul) continue;
        if (mode != CUDNN_HEUR_MODE_FALLBACK || configuration.engine == 0)
          descriptor.heuristics.push_back(&configuration);
      }
      return CUDNN_STATUS_SUCCESS;
    }
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR: {
      const DescriptorPointer graph = descriptor.descriptor(CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
      if (graph == nullptr || !graph->finalized) return missing(why, "operation graph");
      descriptor.recipe = graph->recipe;
      descriptor.configuration =
          configurationOf(descriptor.value<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, -1),
                          Descriptor(descriptor.type));
      if (descriptor.configuration != nullptr) return CUDNN_STATUS_SUCCESS;
      why = "no engine of this index";
      return CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND;
    }
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR: {
      const DescriptorPointer engine = descriptor.descriptor(CUDNN_ATTR_ENGINECFG_ENGINE);
      if (engine == nullptr || !engine->finalized) return missing(why, "engine");
      descriptor.recipe = engine->recipe;
      descriptor.configuration = configurationOf(engine->configuration->engine, descriptor);
      return CUDNN_STATUS_SUCCESS;
    }
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
      return finalizePlan(descriptor, why);
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
      if (descriptor.list<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).size() !=
          descriptor.list<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).size()) {
        why = "as many ids as pointers";
        return CUDNN_STATUS_BAD_PARAM;
      }
      return CUDNN_STATUS_SUCCESS;
    default:
      return CUDNN_STATUS_SUCCESS;
  }
}

namespace {

void write(std::ostream& out, const TensorShape& shape) {
  out << ' ' << shape.uid << ' ' << shape.alignment << ' ' << int(shape.type);
  for (int64_t dim : shape.dims) out << ' ' << dim;
  for (int64_t stride : shape.strides) out << ' ' << stride;
}

void read(std::istream& in, TensorShape& shape) {
  int type = 0;
  in >> shape.uid >> shape.alignment >> type;
  shape.type = cudnnDataType_t(type);
  shape.dims.resize(4);
  shape.strides.resize(4);
  for (int64_t& dim : shape.dims) in >> dim;
  for (int64_t& stride : shape.strides) in >> stride;
}

uint64_t digest(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (char letter : text) hash = (hash ^ uint8_t(letter)) * 0x100000001b3u;
  return hash;
}

constexpr const char* kPlanText = "{\"simulated_plan\":\"";

}  // namespace

// JSON of one string: version, capability, multiprocessors, configuration, recipe; then a digest of it.
std::string serialisePlan(const Recipe& recipe, const Configuration& configuration) {
  std::ostringstream out;
  out << resnetSimulatedCudnnVersion() << " 90 132 " << (&configuration - configurations().data());
  write(out, recipe.x);
  write(out, recipe.w);
  write(out, recipe.y);
  for (int d = 0; d < 2; ++d)
    out << ' ' << recipe.stride[d] << ' ' << recipe.dilation[d] << ' ' << recipe.before[d] << ' '
        << recipe.after[d];
  out << ' ' << recipe.flipped << ' ' << int(recipe.convType) << ' ' << recipe.epilogue.size();
  for (const EpilogueStage& stage : recipe.epilogue) {
    out << ' ' << stage.relu << ' ' << int(stage.resultType);
    if (!stage.relu) write(out, stage.operand);
  }
  const std::string body = out.str();
  return kPlanText + body + "\",\"digest\":\"" + std::to_string(digest(body)) + "\"}";
}

cudnnStatus_t deserialisePlan(const std::string& text, Descriptor& plan, std::string& why) {
  const size_t begin = std::string(kPlanText).size(), end = text.find('"', begin);
  if (text.compare(0, begin, kPlanText) != 0 || end == std::string::npos) {
    why = "not a plan";
    return CUDNN_STATUS_BAD_PARAM;
  }
  const std::string body = text.substr(begin, end - begin);
  if (text.substr(end) != "\",\"digest\":\"" + std::to_string(digest(body)) + "\"}") {
    why = "a damaged plan";
    return CUDNN_STATUS_BAD_PARAM;
  }
  std::istringstream in(body);
  size_t version = 0, capability = 0, processors = 0, index = 0, stages = 0;
  in >> version >> capability >> processors >> index;
  if (version != resnetSimulatedCudnnVersion() || capability != 90 || processors != 132 ||
      index >= configurations().size()) {
    why = "a plan of another cuDNN or device";
    return CUDNN_STATUS_SERIALIZATION_VERSION_MISMATCH;
  }
  auto recipe = std::make_shared<Recipe>();
  read(in, recipe->x);
  read(in, recipe->w);
  read(in, recipe->y);
  for (int d = 0; d < 2; ++d)
    in >> recipe->stride[d] >> recipe->dilation[d] >> recipe->before[d] >> recipe->after[d];
  int type = 0;
  in >> recipe->flipped >> type >> stages;
  recipe->convType = cudnnDataType_t(type);
  recipe->epilogue.resize(stages);
  for (EpilogueStage& stage : recipe->epilogue) {
    in >> stage.relu >> type;
    stage.resultType = cudnnDataType_t(type);
    if (!stage.relu) read(in, stage.operand);
  }
  plan.recipe = std::move(recipe);
  plan.configuration = &configurations()[index];
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace resnet::simulated
