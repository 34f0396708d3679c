#include "test/cuda/cudnn_question.h"

#include <cudnn_frontend.h>

#include <algorithm>
#include <cstdlib>

#include "cuda/cudnn/library.h"

namespace resnet::cuda::test {
namespace {

namespace fe = cudnn_frontend;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

fe::DataType_t dataType(Element element) {
  switch (element) {
    case Element::kInt8:
      return fe::DataType_t::INT8;
    case Element::kUint8:
      return fe::DataType_t::UINT8;
    case Element::kE4m3:
      return fe::DataType_t::FP8_E4M3;
    case Element::kFloat16:
      return fe::DataType_t::HALF;
    case Element::kBFloat16:
      return fe::DataType_t::BFLOAT16;
    case Element::kFloat32:
      return fe::DataType_t::FLOAT;
  }
  return fe::DataType_t::NOT_SET;
}

bool isInteger(Element element) { return element == Element::kInt8 || element == Element::kUint8; }

struct Extent {
  int n, c, h, w, pitch;
};

fe::graph::Tensor_attributes describe(const char* name, int64_t uid, fe::DataType_t type,
                                      const Extent& extent) {
  const int64_t pitch = extent.pitch == 0 ? extent.c : extent.pitch;
  const int64_t row = extent.w * pitch;
  return fe::graph::Tensor_attributes()
      .set_name(name)
      .set_uid(uid)
      .set_data_type(type)
      .set_dim({extent.n, extent.c, extent.h, extent.w})
      .set_stride({extent.h * row, 1, row, pitch});
}

class Operations : public fe::graph::Graph {
 public:
  fe::EngineConfigList configurations() { return plans.get_barred_engine_configs(); }
};

int outputSize(int size, int kernel, int stride, int pad, int dilation) {
  return (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

// The arithmetic of a question, operation by operation.
class Statement {
 public:
  explicit Statement(const CudnnQuestion& question) : asked_(question) {
    const ConvolutionShape& s = asked_.shape;
    rows_ = outputSize(s.h, s.kernelH, s.strideH, s.padH, s.dilationH);
    columns_ = outputSize(s.w, s.kernelW, s.strideW, s.padW, s.dilationW);
    const auto sums = isInteger(asked_.input) ? fe::DataType_t::INT32 : fe::DataType_t::FLOAT;
    graph.set_io_data_type(dataType(asked_.input))
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    const Tensor x = tensor("x", asked_.input, {s.n, s.c, s.h, s.w, s.inputPitch});
    const Tensor w = tensor("w", asked_.weight, {s.k, s.c / s.groups, s.kernelH, s.kernelW, 0});
    Tensor y = graph.conv_fprop(x, w,
                                fe::graph::Conv_fprop_attributes()
                                    .set_name("conv")
                                    .set_padding({s.padH, s.padW})
                                    .set_stride({s.strideH, s.strideW})
                                    .set_dilation({s.dilationH, s.dilationW})
                                    .set_compute_data_type(sums));
    y->set_data_type(sums);
    const bool scaled = asked_.scale != Scale::kNone;
    if (scaled)
      y = combine(
          "scale", fe::PointwiseMode_t::MUL, y,
          tensor("s", Element::kFloat32, {1, asked_.scale == Scale::kVector ? s.k : 1, 1, 1, 0}));
    const Tensor bias = tensor(
        "b", scaled || asked_.float32Bias ? Element::kFloat32 : asked_.weight, {1, s.k, 1, 1, 0});
    if (s.residual && asked_.residualFirst) y = addResidual(y);
    y = combine("bias", fe::PointwiseMode_t::ADD, y, bias);
    if (s.residual && !asked_.residualFirst) y = addResidual(y);
    if (s.relu)
      y = graph.pointwise(y, fe::graph::Pointwise_attributes().set_name("relu").set_mode(
                                 fe::PointwiseMode_t::RELU_FWD));
    const fe::graph::Tensor_attributes wanted =
        describe("y", ++uid_, dataType(asked_.output), {s.n, s.k, rows_, columns_, s.outputPitch});
    y->set_name("y")
        .set_uid(uid_)
        .set_data_type(dataType(asked_.output))
        .set_dim(wanted.get_dim())
        .set_stride(wanted.get_stride())
        .set_output(true);
  }

  Operations graph;

 private:
  Tensor tensor(const char* name, Element element, const Extent& extent) {
    return graph.tensor(describe(name, ++uid_, dataType(element), extent));
  }
  Tensor combine(const char* name, fe::PointwiseMode_t mode, const Tensor& a, const Tensor& b) {
    return graph.pointwise(a, b, fe::graph::Pointwise_attributes().set_name(name).set_mode(mode));
  }
  Tensor addResidual(const Tensor& y) {
    const ConvolutionShape& s = asked_.shape;
    Tensor residual = tensor("r", asked_.residual, {s.n, s.k, rows_, columns_, s.residualPitch});
    if (asked_.scale != Scale::kNone)
      residual = combine("z", fe::PointwiseMode_t::MUL, residual,
                         tensor("zs", Element::kFloat32, {1, 1, 1, 1, 0}));
    return combine("residual", fe::PointwiseMode_t::ADD, y, residual);
  }

  const CudnnQuestion& asked_;
  int rows_ = 0, columns_ = 0;
  int64_t uid_ = 0;
};

struct HandleOwner {
  HandleOwner() { cudnnCreate(&handle); }
  HandleOwner(const HandleOwner&) = delete;
  HandleOwner& operator=(const HandleOwner&) = delete;
  ~HandleOwner() { cudnnDestroy(handle); }
  cudnnHandle_t handle = nullptr;
};

// "eng48_k2=5": 48.
int engineNumber(const std::string& tag) {
  const size_t at = tag.find("eng");
  return at == std::string::npos ? -1 : std::atoi(tag.c_str() + at + 3);
}

void count(Operations& graph, size_t first, int64_t workspaceLimit, bool build,
           CudnnAnswer& answer) {
  fe::EngineConfigList configurations = graph.configurations();
  for (size_t i = first; i < configurations.size(); ++i) {
    int64_t workspace = 0;
    if (fe::detail::get_workspace_size(configurations[i], workspace).is_bad() ||
        workspace > workspaceLimit)
      continue;
    std::string tag;
    if (graph.get_plan_name_at_index(static_cast<int64_t>(i), tag).is_bad()) continue;
    const bool wasEmpty = answer.engines.empty();
    CudnnAnswer::Engine& engine = answer.engines[engineNumber(tag)];
    cudnnBackendDescriptor_t raw = configurations[i]->get_backend_descriptor();
    engine.compiled = fe::hasBehaviorNote<CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION>(raw);
    engine.tensorCores = fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_TENSOR_CORE>(raw);
    engine.workspace =
        engine.configurations == 0 ? workspace : std::min(engine.workspace, workspace);
    ++engine.configurations;
    if (!wasEmpty || !build) continue;
    fe::error_t made = graph.build_plan_at_index(static_cast<int64_t>(i));
    if (made.is_bad())
      answer.built = Status::error(Code::kUnsupported, tag + ": " + brief(made.get_message()));
  }
}

}  // namespace

int CudnnAnswer::configurations(bool compiled) const {
  int sum = 0;
  for (const auto& [number, engine] : engines)
    if (engine.compiled == compiled) sum += engine.configurations;
  return sum;
}

CudnnAnswer askCudnn(const CudnnQuestion& question, int64_t workspaceLimit, bool build) {
  CudnnAnswer answer;
  try {
    HandleOwner owner;
    Statement statement(question);
    Operations& graph = statement.graph;
    fe::error_t stated = graph.validate();
    if (stated.is_good()) stated = graph.build_operation_graph(owner.handle);
    if (stated.is_bad()) {
      answer.refusal = brief(stated.get_message());
      return answer;
    }
    for (fe::HeurMode_t mode : {fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK}) {
      const size_t known = graph.configurations().size();
      fe::error_t proposed = graph.create_execution_plans({mode});
      if (proposed.is_bad())
        answer.refusal = brief(proposed.get_message());
      else
        count(graph, known, workspaceLimit, build, answer);
      if (!answer.engines.empty()) break;
    }
  } catch (const std::exception& error) {
    answer.refusal = brief(error.what());
  }
  if (!answer.engines.empty()) answer.refusal.clear();
  return answer;
}

}  // namespace resnet::cuda::test
