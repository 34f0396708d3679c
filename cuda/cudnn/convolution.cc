// Each convolution as one cuDNN operation graph. cudnn_frontend throws; every function of this file
// that calls it ends in attempt(), so that nothing leaves but a Status.
#include "cuda/cudnn/convolution.h"

#include <cudnn_frontend.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "cuda/cudnn/library.h"

namespace resnet::cuda {
namespace {

namespace fe = cudnn_frontend;
using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

// ---- failures ----

Status frontendError(std::string_view what, const std::string& message) {
  const cudnnStatus_t failure = takeCudnnFailure();
  if (failure != CUDNN_STATUS_SUCCESS) return cudnnError(failure, what);
  return Status::error(Code::kUnsupported, std::string(what) + ": " + brief(message));
}

Status check(fe::error_t error, std::string_view what) {
  if (error.is_good()) return Status::okay();
  return frontendError(what, error.get_message());
}

// A failure that says nothing about the engine it happened to.
bool isTerminal(Code code) { return code == Code::kDeviceLost || code == Code::kOutOfMemory; }

// What `body` returns, or what it throws as a Status.
template <typename Body>
auto attempt(std::string_view what, const Body& body) -> decltype(body()) {
  try {
    takeCudnnFailure();  // of some earlier call that could do without
    return body();
  } catch (const std::bad_alloc&) {
    return Status::error(Code::kOutOfMemory, std::string(what) + ": out of host memory");
  } catch (const std::exception& error) {
    return frontendError(what, error.what());
  }
}

// ---- the graph ----

fe::DataType_t dataType(DType dtype) {
  switch (dtype) {
    case DType::kFloat16:
      return fe::DataType_t::HALF;
    case DType::kBFloat16:
      return fe::DataType_t::BFLOAT16;
    default:
      return fe::DataType_t::FLOAT;
  }
}

struct Extent {
  int n, c, h, w, pitch;
};

// Dimensions are named N, C, H, W to cuDNN whatever the layout; the strides make it NHWC.
fe::graph::Tensor_attributes describe(const char* name, ConvolutionUid uid, DType dtype,
                                      const Extent& extent) {
  const int64_t pitch = extent.pitch == 0 ? extent.c : extent.pitch;
  const int64_t row = extent.w * pitch;
  return fe::graph::Tensor_attributes()
      .set_name(name)
      .set_uid(uid)
      .set_data_type(dataType(dtype))
      .set_dim({extent.n, extent.c, extent.h, extent.w})
      .set_stride({extent.h * row, 1, row, pitch});
}

// The frontend's graph, and what it keeps from those who only use it: the engines themselves. Its own
// ways to run and to store a plan bring along what is not wanted here: a map of tensors at every
// launch, a warm-up run at every load.
class Operations : public fe::graph::Graph {
 public:
  // The configurations that heuristics proposed, best first: as long as none is deselected, all.
  fe::EngineConfigList configurations() { return plans.get_barred_engine_configs(); }
  std::shared_ptr<fe::ExecutionPlan> plan(int64_t index) {
    return plans.get_execution_plans()[static_cast<size_t>(index)];
  }
};

// [1, rows, columns] to cuDNN's matrices, whatever order they lie in.
fe::graph::Tensor_attributes describeMatrix(const char* name, ConvolutionUid uid, DType dtype,
                                            std::array<int64_t, 2> size,
                                            std::array<int64_t, 2> stride) {
  return fe::graph::Tensor_attributes()
      .set_name(name)
      .set_uid(uid)
      .set_data_type(dataType(dtype))
      .set_dim({1, size[0], size[1]})
      .set_stride({std::max(size[0] * stride[0], size[1] * stride[1]), stride[0], stride[1]});
}

// y [n, k] = x [n, c] w^T + bias, w [k, c]: the memory of the 1x1 convolution of a 1x1 map.
void stateMatmul(Operations& graph, const ConvolutionShape& shape) {
  const auto pitch = [](int given, int dense) -> int64_t { return given == 0 ? dense : given; };
  const int64_t inPitch = pitch(shape.inputPitch, shape.c),
                outPitch = pitch(shape.outputPitch, shape.k);
  const Tensor x = graph.tensor(
      describeMatrix("input", kInputUid, shape.dtype, {shape.n, shape.c}, {inPitch, 1}));
  const Tensor w = graph.tensor(
      describeMatrix("weight", kWeightUid, shape.dtype, {shape.c, shape.k}, {1, shape.c}));
  const Tensor bias =
      graph.tensor(describeMatrix("bias", kBiasUid, shape.dtype, {1, shape.k}, {shape.k, 1}));
  const auto pointwise = [](const char* name, fe::PointwiseMode_t mode) {
    return fe::graph::Pointwise_attributes().set_name(name).set_mode(mode);
  };
  Tensor y = graph.matmul(x, w, fe::graph::Matmul_attributes().set_name("matmul"));
  y = graph.pointwise(y, bias, pointwise("add bias", fe::PointwiseMode_t::ADD));
  if (shape.relu) y = graph.pointwise(y, pointwise("relu", fe::PointwiseMode_t::RELU_FWD));
  const fe::graph::Tensor_attributes wanted =
      describeMatrix("output", kOutputUid, shape.outputType, {shape.n, shape.k}, {outPitch, 1});
  y->set_name("output")
      .set_uid(kOutputUid)
      .set_data_type(dataType(shape.outputType))
      .set_dim(wanted.get_dim())
      .set_stride(wanted.get_stride())
      .set_output(true);
}

// One object for one operation graph: the frontend cannot lower the same object twice.
Result<std::unique_ptr<Operations>> makeGraph(const ConvolutionShape& shape, GraphForm form) {
  RESNET_RETURN_IF_ERROR(checkShape(shape));
  auto graph = std::make_unique<Operations>();
  graph->set_io_data_type(dataType(shape.dtype))
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  if (form == GraphForm::kMatmul) {
    if (!isMatmul(shape))
      return Status::error(
          Code::kInvalidArgument,
          "expected a 1x1 convolution of 1x1 maps, got \"" + shapeText(shape) + "\"");
    stateMatmul(*graph, shape);
    RESNET_RETURN_IF_ERROR(check(graph->validate(), shapeText(shape)));
    return graph;
  }
  const OutputSize size = outputSize(shape);
  const auto output = [&](int pitch) { return Extent{shape.n, shape.k, size.p, size.q, pitch}; };

  const Tensor x = graph->tensor(describe("input", kInputUid, shape.dtype,
                                          {shape.n, shape.c, shape.h, shape.w, shape.inputPitch}));
  const Tensor w =
      graph->tensor(describe("weight", kWeightUid, shape.dtype,
                             {shape.k, shape.c / shape.groups, shape.kernelH, shape.kernelW, 0}));
  const Tensor bias = graph->tensor(describe("bias", kBiasUid, shape.dtype, {1, shape.k, 1, 1, 0}));

  Tensor y = graph->conv_fprop(x, w,
                               fe::graph::Conv_fprop_attributes()
                                   .set_name("conv")
                                   .set_padding({shape.padH, shape.padW})
                                   .set_stride({shape.strideH, shape.strideW})
                                   .set_dilation({shape.dilationH, shape.dilationW}));
  const auto add = [&](const char* name, const Tensor& a, const Tensor& b) {
    return graph->pointwise(
        a, b, fe::graph::Pointwise_attributes().set_name(name).set_mode(fe::PointwiseMode_t::ADD));
  };
  Tensor residual;
  if (shape.residual)
    residual =
        graph->tensor(describe("residual", kResidualUid, shape.dtype, output(shape.residualPitch)));
  if (residual != nullptr && form == GraphForm::kPrecompiled) y = add("add residual", y, residual);
  y = residual == nullptr && form == GraphForm::kGeneric ? add("add bias", bias, y)
                                                         : add("add bias", y, bias);
  if (residual != nullptr && form == GraphForm::kGeneric) y = add("add residual", y, residual);
  if (shape.relu)
    y = graph->pointwise(y, fe::graph::Pointwise_attributes().set_name("relu").set_mode(
                                fe::PointwiseMode_t::RELU_FWD));

  const fe::graph::Tensor_attributes wanted =
      describe("output", kOutputUid, shape.outputType, output(shape.outputPitch));
  y->set_name("output")
      .set_uid(kOutputUid)
      .set_data_type(dataType(shape.outputType))
      .set_dim(wanted.get_dim())
      .set_stride(wanted.get_stride())
      .set_output(true);
  RESNET_RETURN_IF_ERROR(check(graph->validate(), shapeText(shape)));
  return graph;
}

// ---- engines ----

// Shared by the context and its engines, since an engine is run through the handle it was built with.
class Handle {
 public:
  Handle() = default;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (handle_ != nullptr) cudnnDestroy(handle_);
  }
  Status create() {
    const cudnnStatus_t status = cudnnCreate(&handle_);
    if (status == CUDNN_STATUS_SUCCESS) return Status::okay();
    handle_ = nullptr;
    return cudnnError(status, "cudnnCreate");
  }
  cudnnHandle_t get() const { return handle_; }

 private:
  cudnnHandle_t handle_ = nullptr;
};

// "ConvFwd_Add_Add_Relu_eng48_k2=5": the operations are known, the engine and the form tell apart.
std::string engineName(std::string tag, GraphForm form) {
  if (const size_t at = tag.find("eng"); at != std::string::npos) tag.erase(0, at);
  return form == GraphForm::kMatmul ? "matmul " + tag : tag;
}

// What a stored engine begins with: one never runs another shape's buffers.
std::string headOf(const ConvolutionShape& shape, GraphForm form) {
  return shapeText(shape) + (form == GraphForm::kMatmul ? " as matmul\n" : "\n");
}

template <typename Notes, typename Note>
bool has(const Notes& notes, Note note) {
  return std::find(notes.begin(), notes.end(), note) != notes.end();
}

class FrontendEngine final : public ConvolutionEngine {
 public:
  FrontendEngine(std::shared_ptr<const Handle> handle, std::shared_ptr<fe::ExecutionPlan> plan,
                 const ConvolutionShape& shape, GraphForm form)
      : handle_(std::move(handle)),
        plan_(std::move(plan)),
        head_(headOf(shape, form)),
        residual_(shape.residual),
        name_(engineName(plan_->getTag(), form)) {
    const auto& behaviour = plan_->getBehaviorNotes();
    runtimeCompiled_ = has(behaviour, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION);
    deterministic_ = !has(plan_->getNumericNotes(), CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
  }

  const std::string& name() const override { return name_; }
  size_t workspaceBytes() const override {
    return static_cast<size_t>(std::max<int64_t>(plan_->getWorkspaceSize(), 0));
  }
  bool runtimeCompiled() const override { return runtimeCompiled_; }
  bool deterministic() const override { return deterministic_; }

  Status enqueue(const ConvolutionBuffers& buffers, cudaStream_t stream) const override {
    return attempt(name_, [&]() -> Status {
      const auto address = [](const void* pointer) { return const_cast<void*>(pointer); };
      std::vector<int64_t> uids = {kInputUid, kWeightUid, kBiasUid, kOutputUid};
      std::vector<void*> pointers = {address(buffers.input), address(buffers.weight),
                                     address(buffers.bias), buffers.output};
      if (residual_) {
        uids.push_back(kResidualUid);
        pointers.push_back(address(buffers.residual));
      }
      fe::detail::backend_descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
      if (pack.get_status() != CUDNN_STATUS_SUCCESS) return cudnnError(pack.get_status(), name_);
      RESNET_RETURN_IF_ERROR(
          check(fe::detail::create_variant_pack(pack, pointers, uids, buffers.workspace), name_));
      cudnnStatus_t status = cudnnSetStream(handle_->get(), stream);
      if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendExecute(handle_->get(), plan_->get_raw_desc(), pack.get_ptr());
      return status == CUDNN_STATUS_SUCCESS ? Status::okay() : cudnnError(status, name_);
    });
  }

  Result<std::string> serialise() const override {
    return attempt(name_,
                   [&]() -> Result<std::string> { return head_ + plan_->getJsonRepresentation(); });
  }

 private:
  std::shared_ptr<const Handle> handle_;
  std::shared_ptr<fe::ExecutionPlan> plan_;
  std::string head_;
  bool residual_ = false;
  std::string name_;
  bool runtimeCompiled_ = false, deterministic_ = true;
};

// Why an engine is refused by what cuDNN notes about its arithmetic; empty when it is not. The
// frontend's own filter is not used: its lists of notes begin with entries that no engine has.
std::string refusal(cudnnBackendDescriptor_t raw, const ConvolutionShape& shape,
                    const EngineQuery& query) {
  const bool float32 = shape.dtype == DType::kFloat32;
  if (query.deterministic && fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC>(raw))
    return "not deterministic";
  if (fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION>(raw))
    return "does not accumulate in float32";
  if (float32 && fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS>(raw))
    return "rounds its float32 inputs";
  if (float32 && !shape.tf32 && fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_TENSOR_CORE>(raw))
    return "computes in TF32";
  if (fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13>(raw) ||
      fe::hasNumericalNote<CUDNN_NUMERICAL_NOTE_FFT>(raw))
    return "loses accuracy by its transform";
  return "";
}

// Compiled at most where the number of engines is limited: a second each.
constexpr ptrdiff_t kCompiledEngines = 2;

using Engines = std::vector<std::shared_ptr<const ConvolutionEngine>>;

ptrdiff_t compiledCount(const Engines& engines) {
  return std::count_if(engines.begin(), engines.end(),
                       [](const auto& engine) { return engine->runtimeCompiled(); });
}

struct Found {
  std::vector<std::shared_ptr<const ConvolutionEngine>> engines;
  Status failure;  // of the whole form, when it has no engine
};

class FrontendContext final : public CudnnContext {
 public:
  explicit FrontendContext(std::shared_ptr<const Handle> handle) : handle_(std::move(handle)) {}

  Result<std::vector<std::shared_ptr<const ConvolutionEngine>>> engines(
      const ConvolutionShape& shape, const EngineQuery& query,
      std::vector<std::string>& refused) override {
    RESNET_RETURN_IF_ERROR(checkShape(shape));
    // The order of preference: precompiled engines first, as cuDNN orders them, since they cost nothing
    // to build; then those that take a compiler's second each, matrix products before convolutions.
    Found precompiled = ask(shape, GraphForm::kPrecompiled, query, refused);
    auto& all = precompiled.engines;
    if (isTerminal(precompiled.failure.code)) return precompiled.failure;
    if (isMatmul(shape) && (query.limit != 1 || all.empty())) {
      const Found product = ask(shape, GraphForm::kMatmul, query, refused);
      if (isTerminal(product.failure.code)) return product.failure;
      all.insert(all.end(), product.engines.begin(), product.engines.end());
    }
    Found generic;
    if (query.limit == 0 || all.empty()) generic = ask(shape, GraphForm::kGeneric, query, refused);
    all.insert(all.end(), generic.engines.begin(), generic.engines.end());
    if (!all.empty()) return std::move(all);
    if (isTerminal(generic.failure.code)) return generic.failure;
    std::string reasons;
    for (const std::string& reason : refused) reasons += "\n  " + reason;
    return Status::error(Code::kUnsupported, "cuDNN has no engine for \"" + shapeText(shape) +
                                                 "\" within a workspace of " +
                                                 std::to_string(query.workspaceLimit) +
                                                 " bytes:" + reasons);
  }

  Result<std::shared_ptr<const ConvolutionEngine>> deserialise(const ConvolutionShape& shape,
                                                               const std::string& bytes) override {
    const auto refuse = [&](const std::string& why) {
      return Status::error(Code::kCorrupt,
                           "a stored engine for \"" + shapeText(shape) + "\" is refused: " + why);
    };
    const GraphForm form = bytes.starts_with(headOf(shape, GraphForm::kMatmul))
                               ? GraphForm::kMatmul
                               : GraphForm::kPrecompiled;
    const std::string head = headOf(shape, form);
    if (!bytes.starts_with(head)) return refuse("it is not for this shape");
    using Loaded = Result<std::shared_ptr<const ConvolutionEngine>>;
    Loaded loaded = attempt("loading an engine", [&]() -> Loaded {
      fe::ExecutionPlanBuilder builder;
      auto plan = std::make_shared<fe::ExecutionPlan>(
          builder.setHandle(handle_->get()).loadFromJson(bytes.substr(head.size())));
      return std::shared_ptr<const ConvolutionEngine>(
          std::make_shared<FrontendEngine>(handle_, std::move(plan), shape, form));
    });
    if (loaded.ok() || isTerminal(loaded.status().code)) return loaded;
    return refuse(loaded.status().message);
  }

 private:
  Found ask(const ConvolutionShape& shape, GraphForm form, const EngineQuery& query,
            std::vector<std::string>& refused) const {
    Found found;
    const char* what = form == GraphForm::kPrecompiled ? "residual, then bias"
                       : form == GraphForm::kGeneric   ? "generic fusion"
                                                       : "matmul";
    found.failure = attempt(what, [&]() -> Status {
      Result<std::unique_ptr<Operations>> made = makeGraph(shape, form);
      if (!made.ok()) return made.takeStatus();
      Operations& graph = *made.value();
      RESNET_RETURN_IF_ERROR(check(graph.build_operation_graph(handle_->get()), what));
      // Where the heuristics' best engines all do something that was not asked for (TF32, say), there are
      // still those of the last resort.
      for (fe::HeurMode_t mode : {fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK}) {
        const size_t known = graph.configurations().size();
        const Status proposed = check(graph.create_execution_plans({mode}), what);
        if (isTerminal(proposed.code)) return proposed;
        if (!proposed.ok()) refused.push_back(proposed.message);
        if (proposed.ok())
          RESNET_RETURN_IF_ERROR(collect(graph, known, shape, form, query, found.engines, refused));
        if (!found.engines.empty()) break;
      }
      return Status::okay();
    });
    if (!found.failure.ok()) refused.push_back(found.failure.message);
    return found;
  }

  // The engines of the configurations from `first` on.
  Status collect(Operations& graph, size_t first, const ConvolutionShape& shape, GraphForm form,
                 const EngineQuery& query,
                 std::vector<std::shared_ptr<const ConvolutionEngine>>& engines,
                 std::vector<std::string>& refused) const {
    fe::EngineConfigList configurations = graph.configurations();
    for (size_t i = first; i < configurations.size(); ++i) {
      if (query.limit > 0 && engines.size() == static_cast<size_t>(query.limit)) break;
      const auto index = static_cast<int64_t>(i);
      std::string name;
      RESNET_RETURN_IF_ERROR(check(graph.get_plan_name_at_index(index, name), "engine"));
      name = engineName(std::move(name), form);
      cudnnBackendDescriptor_t raw = configurations[i]->get_backend_descriptor();
      const bool compiled = fe::hasBehaviorNote<CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION>(raw);
      // Both forms may lead to the same engines, which then belong to the first.
      if (form == GraphForm::kGeneric && !compiled) continue;
      if (compiled && query.limit > 0 && compiledCount(engines) == kCompiledEngines) continue;
      std::string reason = refusal(raw, shape, query);
      int64_t workspace = 0;
      if (reason.empty() &&
          fe::detail::get_workspace_size(configurations[i], workspace).is_good() &&
          workspace > static_cast<int64_t>(query.workspaceLimit))
        reason = "wants a workspace of " + std::to_string(workspace) + " bytes";
      if (reason.empty()) {
        takeCudnnFailure();
        const Status built = check(graph.build_plan_at_index(index), "not supported");
        if (built.code == Code::kDeviceLost) return built;
        if (!built.ok()) reason = built.message;
      }
      if (reason.empty()) {
        auto engine = std::make_shared<FrontendEngine>(handle_, graph.plan(index), shape, form);
        if (engine->workspaceBytes() > query.workspaceLimit)
          reason = "wants a workspace of " + std::to_string(engine->workspaceBytes()) + " bytes";
        else
          engines.push_back(std::move(engine));
      }
      if (!reason.empty()) refused.push_back(name + ": " + reason);
    }
    return Status::okay();
  }

  std::shared_ptr<const Handle> handle_;
};

}  // namespace

Result<std::string> convolutionGraph(const ConvolutionShape& shape, GraphForm form) {
  return attempt("stating a convolution", [&]() -> Result<std::string> {
    Result<std::unique_ptr<Operations>> graph = makeGraph(shape, form);
    if (!graph.ok()) return graph.takeStatus();
    nlohmann::json json;
    static_cast<const fe::graph::Graph&>(*graph.value()).serialize(json);
    return json.dump();
  });
}

int cudnnFrontendVersion() { return CUDNN_FRONTEND_VERSION; }

Result<std::unique_ptr<CudnnContext>> makeCudnnContext() {
  return attempt("cuDNN", []() -> Result<std::unique_ptr<CudnnContext>> {
    auto handle = std::make_shared<Handle>();
    RESNET_RETURN_IF_ERROR(handle->create());
    return std::unique_ptr<CudnnContext>(std::make_unique<FrontendContext>(std::move(handle)));
  });
}

}  // namespace resnet::cuda
