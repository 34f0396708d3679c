// What the lowering states to cuDNN, executed from the stated graph alone on weights that the backend's
// own kernel packed, against a convolution written from its definition in another layout. And the
// controls: ways to state it wrongly, each of which must be seen.
#include <cuda_runtime_api.h>

#include <cmath>
#include <functional>
#include <limits>

#include "cuda/cudnn/convolution.h"
#include "cuda/kernels/kernels.h"
#include "test/cuda/interpreter.h"
#include "test/native/check.h"
#include "test/native/op_rows.h"

namespace resnet::cuda::test {
namespace {

using resnet::test::contains;

// ---- the cases ----

struct Case {
  std::string name;
  ConvolutionShape shape;  // channels as they are: padding is the case's own doing
  int pad = 0;             // channels and outputs are padded to a multiple of this; 0: not at all
};

ConvolutionShape base(int h, int w, int c, int k, int kernel, int stride) {
  ConvolutionShape shape;
  shape.n = 2;
  shape.h = h;
  shape.w = w;
  shape.c = c;
  shape.k = k;
  shape.kernelH = shape.kernelW = kernel;
  shape.strideH = shape.strideW = stride;
  shape.padH = shape.padW = kernel / 2;
  shape.relu = true;
  return shape;
}

template <typename Change>
ConvolutionShape with(ConvolutionShape shape, const Change& change) {
  change(shape);
  return shape;
}

// The linear steps of the table that the CPU's tiers run too, as the backend lowers them.
void addLinearRows(std::vector<Case>& list) {
  for (const resnet::test::OpRow& row : resnet::test::opRows()) {
    if (row.kind != StepKind::kLinear) continue;
    ConvolutionShape shape = base(1, 1, row.in.c, row.k, 1, 1);
    shape.n = row.in.n;
    shape.relu = false;
    shape.outputType = DType::kFloat32;
    list.push_back(
        {"linear " + resnet::test::shapeName(row.in) + row.suffix(), shape, kChannelAlignment});
  }
}

std::vector<Case> cases() {
  using S = ConvolutionShape;
  const S plain = base(7, 9, 16, 24, 3, 1);
  const S classifier = with(base(1, 1, 32, 16, 1, 1),
                            [](S& s) { s.n = 5, s.relu = false, s.outputType = DType::kFloat32; });
  const S block = with(base(6, 6, 16, 16, 3, 1), [](S& s) { s.residual = true; });
  std::vector<Case> list = {
      {"3x3", plain},
      {"1x1", base(5, 7, 24, 16, 1, 1)},
      {"1x1 stride 2", base(8, 7, 16, 32, 1, 2)},
      {"3x3 stride 2", base(9, 8, 16, 16, 3, 2)},
      {"stride 2 along h alone", with(plain, [](S& s) { s.strideW = 1, s.strideH = 2; })},
      {"stem 7x7, 3 channels padded to 8", base(19, 17, 3, 16, 7, 2), 8},
      {"10 outputs padded to 16", base(1, 1, 24, 10, 1, 1), 8},
      {"groups 4", with(base(6, 5, 32, 16, 3, 1), [](S& s) { s.groups = 4; })},
      {"depthwise", with(base(6, 5, 16, 16, 3, 1), [](S& s) { s.groups = 16; })},
      {"dilation 2", with(plain, [](S& s) { s.dilationH = s.dilationW = 2, s.padH = s.padW = 2; })},
      {"padding and dilation differ",
       with(plain, [](S& s) { s.dilationW = 3, s.padH = 0, s.padW = 2; })},
      {"kernel 1x5", with(plain, [](S& s) { s.kernelH = 1, s.kernelW = 5, s.padH = 0; })},
      {"residual", block},
      {"residual, no relu", with(block, [](S& s) { s.relu = false; })},
      {"residual, stride 2",
       with(base(8, 8, 16, 24, 3, 2), [](S& s) { s.residual = true, s.n = 1; })},
      {"no relu", with(plain, [](S& s) { s.relu = false; })},
      {"pitches",
       with(block, [](S& s) { s.inputPitch = 40, s.outputPitch = 48, s.residualPitch = 24; })},
      {"groups, dilation, residual, pitches", with(block,
                                                   [](S& s) {
                                                     s.groups = 2, s.dilationH = s.dilationW = 2,
                                                     s.padH = s.padW = 2, s.inputPitch = 24;
                                                   })},
      {"bfloat16", with(block, [](S& s) { s.dtype = s.outputType = DType::kBFloat16; })},
      {"float32", with(block, [](S& s) { s.dtype = s.outputType = DType::kFloat32; })},
      {"float16 to float32", classifier},
      {"one image, relu", with(classifier, [](S& s) { s.n = 1, s.relu = true; })},
      {"bfloat16 to float32", with(classifier, [](S& s) { s.dtype = DType::kBFloat16; })},
      {"vectors of float32", with(classifier, [](S& s) { s.dtype = DType::kFloat32; })},
      {"vectors of float16", with(classifier, [](S& s) { s.outputType = DType::kFloat16; })},
      {"vectors with pitches, outputs padded",
       with(classifier, [](S& s) { s.k = 10, s.inputPitch = 40, s.outputPitch = 24; }), 8},
  };
  addLinearRows(list);
  return list;
}

// Of the largest absolute result: one rounding of the output, and float32 sums in another order.
double tolerance(const ConvolutionShape& shape) {
  switch (shape.outputType) {
    case DType::kFloat16:
      return 6e-4;
    case DType::kBFloat16:
      return 5e-3;
    default:
      return 2e-6;
  }
}

// ---- data ----

const char* typeOf(DType dtype) {
  if (dtype == DType::kFloat16) return "HALF";
  return dtype == DType::kBFloat16 ? "BFLOAT16" : "FLOAT";
}

float formula(uint64_t seed, size_t i) {  // uniform in [-1, 1)
  uint64_t z = seed * 0x9E3779B97F4A7C15u + i * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return static_cast<float>((z ^ (z >> 31)) >> 40) * 0x1p-23f - 1.0f;
}

float rounded(DType dtype, float value) {
  std::byte bytes[4];
  store(typeOf(dtype), bytes, value);
  return load(typeOf(dtype), bytes);
}

int paddedTo(int channels, int pad) {
  return pad == 0 ? channels : (channels + pad - 1) / pad * pad;
}

// Maps in NCHW float32 with the real channels, every value one that the dtype has.
struct Maps {
  int n = 0, c = 0, h = 0, w = 0;
  std::vector<float> values;
  float at(int in, int ic, int ih, int iw) const {
    return values[static_cast<size_t>(((in * c + ic) * h + ih) * w + iw)];
  }
};

Maps makeMaps(uint64_t seed, int n, int c, int h, int w, DType dtype) {
  Maps maps{n, c, h, w, {}};
  maps.values.resize(static_cast<size_t>(n * c * h * w));
  for (size_t i = 0; i < maps.values.size(); ++i) maps.values[i] = rounded(dtype, formula(seed, i));
  return maps;
}

// NHWC of `channels` with a pitch: real channels, zeros up to `channels`, not-a-number beyond.
std::vector<std::byte> lay(const Maps& maps, int channels, int pitch, DType dtype) {
  const std::string type = typeOf(dtype);
  const size_t size = bytesOf(type);
  std::vector<std::byte> bytes(static_cast<size_t>(maps.n * maps.h * maps.w * pitch) * size);
  std::byte* at = bytes.data();
  for (int n = 0; n < maps.n; ++n)
    for (int h = 0; h < maps.h; ++h)
      for (int w = 0; w < maps.w; ++w)
        for (int c = 0; c < pitch; ++c, at += size)
          store(type, at,
                c < maps.c     ? maps.at(n, c, h, w)
                : c < channels ? 0.0f
                               : std::numeric_limits<float>::quiet_NaN());
  return bytes;
}

// The backend's own packing, on the simulated device.
std::vector<std::byte> pack(const std::vector<float>& weight, const std::vector<float>& scale,
                            const PackArguments& sizes) {
  const auto upload = [](const std::vector<float>& from) {
    void* to = nullptr;
    CHECK_EQ(cudaMalloc(&to, from.size() * sizeof(float)), cudaSuccess);
    CHECK_EQ(cudaMemcpy(to, from.data(), from.size() * sizeof(float), cudaMemcpyHostToDevice),
             cudaSuccess);
    return static_cast<float*>(to);
  };
  const View& to = sizes.to;
  std::vector<std::byte> packed(static_cast<size_t>(to.n * to.h * to.w * to.pitch) *
                                dtypeBytes(to.dtype));
  PackArguments arguments = sizes;
  float* deviceWeight = upload(weight);
  float* deviceScale = upload(scale);
  arguments.weight = deviceWeight;
  arguments.scale = deviceScale;
  CHECK_EQ(cudaMalloc(&arguments.to.data, packed.size()), cudaSuccess);
  cudaStream_t stream = nullptr;
  CHECK_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  CHECK_EQ(cudaDeviceSynchronize(), cudaSuccess);
  CHECK_EQ(packWeights(arguments, stream), cudaSuccess);
  CHECK_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  CHECK_EQ(cudaMemcpy(packed.data(), arguments.to.data, packed.size(), cudaMemcpyDeviceToHost),
           cudaSuccess);
  CHECK_EQ(cudaStreamDestroy(stream), cudaSuccess);
  for (void* memory :
       {static_cast<void*>(deviceWeight), static_cast<void*>(deviceScale), arguments.to.data})
    CHECK_EQ(cudaFree(memory), cudaSuccess);
  return packed;
}

// ---- the reference ----

// From the definition, NCHW, in double. Weights [K][C/groups][R][S].
Maps reference(const ConvolutionShape& s, const Maps& x, const std::vector<float>& weight,
               const std::vector<float>& bias, const Maps* residual) {
  const int p = (s.h + 2 * s.padH - s.dilationH * (s.kernelH - 1) - 1) / s.strideH + 1;
  const int q = (s.w + 2 * s.padW - s.dilationW * (s.kernelW - 1) - 1) / s.strideW + 1;
  const int perGroup = s.c / s.groups, outputsPerGroup = s.k / s.groups;
  Maps y{s.n, s.k, p, q, {}};
  for (int n = 0; n < s.n; ++n)
    for (int k = 0; k < s.k; ++k)
      for (int i = 0; i < p; ++i)
        for (int j = 0; j < q; ++j) {
          double sum = bias[static_cast<size_t>(k)];
          if (residual != nullptr) sum += residual->at(n, k, i, j);
          for (int c = 0; c < perGroup; ++c)
            for (int r = 0; r < s.kernelH; ++r)
              for (int t = 0; t < s.kernelW; ++t) {
                const int h = i * s.strideH + r * s.dilationH - s.padH;
                const int w = j * s.strideW + t * s.dilationW - s.padW;
                if (h < 0 || h >= s.h || w < 0 || w >= s.w) continue;
                const size_t tap =
                    static_cast<size_t>(((k * perGroup + c) * s.kernelH + r) * s.kernelW + t);
                sum += double{x.at(n, k / outputsPerGroup * perGroup + c, h, w)} * weight[tap];
              }
          y.values.push_back(static_cast<float>(s.relu && sum < 0 ? 0 : sum));
        }
  return y;
}

// ---- one convolution ----

using Mutation = std::function<void(OperationGraph&)>;

// The largest error relative to the largest result, or what refused the graph or the memory.
struct Outcome {
  double error = 0;
  std::string refused;
  Maps result;  // of the interpreter, real channels
  bool right(const ConvolutionShape& shape) const {
    return refused.empty() && error <= tolerance(shape);
  }
};

struct Problem {
  ConvolutionShape shape;  // real channels
  int pad = 0;
  Maps x, residual;
  std::vector<float> krsc, kcrs, scale, bias;  // krsc unscaled; kcrs as the reference uses it

  Problem(const ConvolutionShape& given, int padding, const Maps* input = nullptr)
      : shape(given), pad(padding) {
    const ConvolutionShape& s = shape;
    x = input != nullptr ? *input : makeMaps(1, s.n, s.c, s.h, s.w, s.dtype);
    const int perGroup = s.c / s.groups;
    const int fanIn = perGroup * s.kernelH * s.kernelW;
    for (int k = 0; k < s.k; ++k) {
      scale.push_back(0.75f + 0.25f * formula(2, static_cast<size_t>(k)));
      bias.push_back(rounded(s.dtype, formula(3, static_cast<size_t>(k))));
    }
    krsc.resize(static_cast<size_t>(s.k * fanIn));
    kcrs.resize(krsc.size());
    size_t i = 0;
    for (int k = 0; k < s.k; ++k)
      for (int r = 0; r < s.kernelH; ++r)
        for (int t = 0; t < s.kernelW; ++t)
          for (int c = 0; c < perGroup; ++c, ++i) {
            krsc[i] = formula(4, i) * 2.0f / std::sqrt(static_cast<float>(fanIn));
            kcrs[static_cast<size_t>(((k * perGroup + c) * s.kernelH + r) * s.kernelW + t)] =
                rounded(s.dtype, krsc[i] * scale[static_cast<size_t>(k)]);
          }
  }

  Outcome run(GraphForm form, const Mutation& mutation = nullptr) {
    const Maps* added = nullptr;
    if (shape.residual && residual.values.empty()) {
      const Maps size = reference(shape, x, kcrs, bias, nullptr);  // of the right extent
      residual = makeMaps(5, size.n, size.c, size.h, size.w, shape.dtype);
    }
    if (shape.residual) added = &residual;
    const Maps expected = reference(shape, x, kcrs, bias, added);

    ConvolutionShape lowered = shape;
    lowered.c = paddedTo(shape.c, pad);
    lowered.k = paddedTo(shape.k, pad);
    Outcome outcome;
    Result<std::string> json = convolutionGraph(lowered, form);
    if (!json.ok()) return outcome.refused = json.status().message, outcome;
    Result<OperationGraph> graph = parseGraph(json.value());
    if (!graph.ok()) return outcome.refused = graph.status().message, outcome;
    if (mutation != nullptr) mutation(graph.value());
    return execute(graph.value(), lowered, expected);
  }

 private:
  Outcome execute(const OperationGraph& graph, const ConvolutionShape& lowered,
                  const Maps& expected) const {
    const auto pitchOf = [](int given, int dense) { return given != 0 ? given : dense; };
    const int outputPitch = pitchOf(lowered.outputPitch, lowered.k);
    std::vector<std::byte> input =
        lay(x, lowered.c, pitchOf(lowered.inputPitch, lowered.c), shape.dtype);
    PackArguments sizes;
    sizes.k = shape.k;
    sizes.c = shape.c / shape.groups;
    sizes.to = {nullptr,       lowered.k, shape.kernelH,
                shape.kernelW, sizes.c,   lowered.c / lowered.groups,
                shape.dtype};
    std::vector<std::byte> weight = pack(krsc, scale, sizes);
    Maps biasMap{1, shape.k, 1, 1, bias};
    std::vector<std::byte> biasBytes = lay(biasMap, lowered.k, lowered.k, shape.dtype);
    std::vector<std::byte> added;
    if (shape.residual)
      added = lay(residual, lowered.k, pitchOf(lowered.residualPitch, lowered.k), shape.dtype);
    const Maps nothing{expected.n, 0, expected.h, expected.w, {}};
    std::vector<std::byte> output = lay(nothing, 0, outputPitch, shape.outputType);

    const auto memory = [](std::vector<std::byte>& bytes) {
      return Memory{bytes.data(), bytes.size()};
    };
    std::map<int64_t, Memory> bound = {{kInputUid, memory(input)},
                                       {kWeightUid, memory(weight)},
                                       {kBiasUid, memory(biasBytes)},
                                       {kOutputUid, memory(output)}};
    if (shape.residual) bound[kResidualUid] = memory(added);
    Outcome outcome;
    const Status status = interpret(graph, bound);
    if (!status.ok()) return outcome.refused = status.message, outcome;
    compare(expected, lowered, output, outputPitch, outcome);
    return outcome;
  }

  // Real channels against the reference, padded ones against zero, the pitch's rest untouched.
  void compare(const Maps& expected, const ConvolutionShape& lowered,
               const std::vector<std::byte>& output, int pitch, Outcome& outcome) const {
    const std::string type = typeOf(shape.outputType);
    double largest = 0, worst = 0;
    outcome.result = expected;
    for (float value : expected.values) largest = std::max(largest, std::fabs(double{value}));
    const std::byte* at = output.data();
    for (int n = 0; n < expected.n; ++n)
      for (int h = 0; h < expected.h; ++h)
        for (int w = 0; w < expected.w; ++w)
          for (int c = 0; c < pitch; ++c, at += bytesOf(type)) {
            const float got = load(type, at);
            if (c >= lowered.k) {
              if (!std::isnan(got)) outcome.refused = "wrote beyond its channels";
              continue;
            }
            const float wanted = c < expected.c ? expected.at(n, c, h, w) : 0.0f;
            const double error = std::fabs(double{got} - wanted);
            worst = std::isnan(error) ? std::numeric_limits<double>::infinity()
                                      : std::max(worst, error);
            if (c < expected.c)
              outcome.result.values[static_cast<size_t>(
                  ((n * expected.c + c) * expected.h + h) * expected.w + w)] = got;
          }
    outcome.error = worst / largest;
  }
};

std::string say(const Outcome& outcome) {
  return outcome.refused.empty() ? "error " + std::to_string(outcome.error) : outcome.refused;
}

std::vector<GraphForm> formsOf(const ConvolutionShape& shape) {
  std::vector<GraphForm> forms = {GraphForm::kPrecompiled, GraphForm::kGeneric};
  if (isMatmul(shape)) forms.push_back(GraphForm::kMatmul);
  return forms;
}

TEST("lowering: every stated graph computes the convolution that is meant, in all its forms") {
  int run = 0, products = 0;
  double worst = 0;
  for (const Case& each : cases()) {
    Problem problem(each.shape, each.pad);
    for (GraphForm form : formsOf(each.shape)) {
      const Outcome outcome = problem.run(form);
      ++run;
      products += form == GraphForm::kMatmul;
      worst = std::max(worst, outcome.error / tolerance(each.shape));
      if (!outcome.right(each.shape))
        resnet::test::fault(__FILE__, __LINE__, each.name + ": " + say(outcome));
    }
  }
  std::printf("  %d graphs, %d of them matrix products, the worst at %.2f of its tolerance\n", run,
              products, worst);
}

// ---- the controls ----

GraphTensor& tensor(OperationGraph& graph, const char* name) { return graph.tensors.at(name); }

GraphNode& convNode(OperationGraph& graph) { return graph.nodes.at(0); }

void rename(OperationGraph& graph, const std::string& from, const std::string& to) {
  for (GraphNode& node : graph.nodes)
    for (auto* ports : {&node.inputs, &node.outputs})
      for (auto& [port, name] : *ports)
        if (name == from) name = to;
}

// Takes out the node that `reads` the tensor at a port: what it wrote, the node before it writes.
void removeReader(OperationGraph& graph, const char* mode, const std::string& reads) {
  for (size_t i = 1; i < graph.nodes.size(); ++i) {
    const GraphNode node = graph.nodes[i];
    const auto second = node.inputs.find("IN_1");
    if (node.mode != mode ||
        (!reads.empty() && (second == node.inputs.end() || second->second != reads)))
      continue;
    GraphNode& before = graph.nodes[i - 1];
    before.outputs.begin()->second = node.outputs.begin()->second;
    graph.nodes.erase(graph.nodes.begin() + static_cast<ptrdiff_t>(i));
    return;
  }
  CHECK(!"the node to remove is there");
}

struct Control {
  const char* name;
  Mutation mutation;
};

// On a 3x3 convolution of 16 channels to 16 with residual and relu, so that every mistake is one that
// shapes alone do not give away.
const Control kControls[] = {
    {"a tensor's stride",
     [](OperationGraph& graph) {
       GraphTensor& y = tensor(graph, "output");
       y.stride = {y.dim[1] * y.dim[2] * y.dim[3], y.dim[2] * y.dim[3], y.dim[3], 1};
     }},
    {"the weights' layout",
     [](OperationGraph& graph) {
       GraphTensor& w = tensor(graph, "weight");
       w.stride = {w.dim[1] * w.dim[2] * w.dim[3], w.dim[2] * w.dim[3], w.dim[3], 1};
     }},
    {"asymmetric padding",
     [](OperationGraph& graph) {
       convNode(graph).prePadding = {0, 1};
       convNode(graph).postPadding = {2, 1};
     }},
    {"a flipped kernel", [](OperationGraph& graph) { convNode(graph).mode = "CONVOLUTION"; }},
    {"swapped uids",
     [](OperationGraph& graph) {
       std::swap(tensor(graph, "input").uid, tensor(graph, "residual").uid);
     }},
    {"a name given twice", [](OperationGraph& graph) { rename(graph, "residual", "input"); }},
    {"no relu", [](OperationGraph& graph) { removeReader(graph, "RELU_FWD", ""); }},
    {"no residual", [](OperationGraph& graph) { removeReader(graph, "ADD", "residual"); }},
    {"another output type",
     [](OperationGraph& graph) { tensor(graph, "output").type = "BFLOAT16"; }},
    {"no bias", [](OperationGraph& graph) { removeReader(graph, "ADD", "bias"); }},
};

TEST("lowering: control: a graph that is stated wrongly is seen") {
  ConvolutionShape shape = base(6, 6, 16, 16, 3, 1);
  shape.residual = true;
  for (GraphForm form : {GraphForm::kPrecompiled, GraphForm::kGeneric}) {
    Problem problem(shape, 0);
    CHECK(problem.run(form).right(shape));
    for (const Control& control : kControls) {
      const Outcome outcome = problem.run(form, control.mutation);
      if (outcome.right(shape))
        resnet::test::fault(__FILE__, __LINE__, std::string(control.name) + " went unseen");
      else if (form == GraphForm::kPrecompiled)
        std::printf("  %s: %s\n", control.name, say(outcome).c_str());
    }
  }
}

// As many channels in as out and as many images, so that no shape gives a mistake away.
const Control kMatmulControls[] = {
    {"the weights not transposed",
     [](OperationGraph& graph) {
       std::swap(tensor(graph, "weight").stride[2], tensor(graph, "weight").stride[3]);
     }},
    {"the input transposed",
     [](OperationGraph& graph) {
       std::swap(tensor(graph, "input").stride[2], tensor(graph, "input").stride[3]);
     }},
    {"the operands in the wrong order",
     [](OperationGraph& graph) {
       auto& inputs = graph.nodes.at(0).inputs;
       std::swap(inputs["A"], inputs["B"]);
     }},
    {"swapped uids",
     [](OperationGraph& graph) {
       std::swap(tensor(graph, "input").uid, tensor(graph, "weight").uid);
     }},
    {"the bias by rows",
     [](OperationGraph& graph) {
       GraphTensor& bias = tensor(graph, "bias");
       std::swap(bias.dim[2], bias.dim[3]);
       std::swap(bias.stride[2], bias.stride[3]);
     }},
    {"the output's pitch", [](OperationGraph& graph) { tensor(graph, "output").stride[2] -= 1; }},
    {"another output type", [](OperationGraph& graph) { tensor(graph, "output").type = "HALF"; }},
    {"no relu", [](OperationGraph& graph) { removeReader(graph, "RELU_FWD", ""); }},
    {"no bias", [](OperationGraph& graph) { removeReader(graph, "ADD", "bias"); }},
};

TEST("lowering: control: a matrix product that is stated wrongly is seen") {
  const ConvolutionShape shape = with(base(1, 1, 16, 16, 1, 1), [](ConvolutionShape& s) {
    s.n = 16, s.dtype = s.outputType = DType::kFloat32;
  });
  Problem problem(shape, 0);
  CHECK(problem.run(GraphForm::kMatmul).right(shape));
  for (const Control& control : kMatmulControls) {
    const Outcome outcome = problem.run(GraphForm::kMatmul, control.mutation);
    if (outcome.right(shape))
      resnet::test::fault(__FILE__, __LINE__, std::string(control.name) + " went unseen");
    else
      std::printf("  matmul, %s: %s\n", control.name, say(outcome).c_str());
  }
}

// Two convolutions in a row, the second with stride 2: on the first the shapes come out the same.
TEST("lowering: control: the stride on the wrong convolution is seen") {
  const auto chain = [](int firstStride, int secondStride) {
    Problem first(base(8, 8, 16, 16, 1, firstStride), 0);
    const Maps middle = first.run(GraphForm::kPrecompiled).result;
    ConvolutionShape shape = base(middle.h, middle.w, 16, 16, 3, secondStride);
    Problem second(shape, 0, &middle);
    const Outcome outcome = second.run(GraphForm::kPrecompiled);
    CHECK(outcome.right(shape));
    return outcome.result;
  };
  const Maps right = chain(1, 2), wrong = chain(2, 1);
  CHECK_EQ(right.values.size(), wrong.values.size());
  double largest = 0, difference = 0;
  for (size_t i = 0; i < right.values.size(); ++i) {
    largest = std::max(largest, std::fabs(double{right.values[i]}));
    difference = std::max(difference, std::fabs(double{right.values[i]} - wrong.values[i]));
  }
  CHECK(difference > 0.1 * largest);
}

// ---- what is refused, and what tells shapes apart ----

TEST("lowering: shapes without a meaning are refused by name") {
  const auto refusal = [](const std::function<void(ConvolutionShape&)>& change) {
    ConvolutionShape shape = base(8, 8, 16, 16, 3, 1);
    change(shape);
    const Result<std::string> graph = convolutionGraph(shape, GraphForm::kPrecompiled);
    CHECK_EQ(graph.ok(), false);
    CHECK_EQ(std::string(codeName(graph.status().code)), "ERR_RESNET_INVALID_ARGUMENT");
    return graph.status().message;
  };
  CHECK_HAS(refusal([](ConvolutionShape& s) { s.n = 0; }), "at least 1");
  CHECK_HAS(refusal([](ConvolutionShape& s) { s.padW = -1; }), "padding");
  CHECK_HAS(refusal([](ConvolutionShape& s) { s.groups = 3; }), "groups");
  CHECK_HAS(refusal([](ConvolutionShape& s) { s.outputPitch = 8; }), "pitches");
  CHECK_HAS(refusal([](ConvolutionShape& s) { s.h = 1, s.padH = 0; }), "kernel is larger");
  CHECK_HAS(refusal([](ConvolutionShape& s) { s.dtype = DType::kUint8; }), "float16");
  const Result<std::string> product =
      convolutionGraph(base(2, 1, 16, 16, 1, 1), GraphForm::kMatmul);
  CHECK_HAS(product.ok() ? "" : product.status().message, "1x1 convolution of 1x1 maps");
}

TEST("lowering: the text of a shape tells every field apart") {
  const ConvolutionShape shape = with(base(8, 8, 16, 16, 3, 1), [](auto& s) { s.residual = true; });
  const std::vector<std::function<void(ConvolutionShape&)>> changes = {
      [](auto& s) { s.n = 3; },
      [](auto& s) { s.h = 9; },
      [](auto& s) { s.w = 9; },
      [](auto& s) { s.c = 8; },
      [](auto& s) { s.k = 8; },
      [](auto& s) { s.kernelH = 1; },
      [](auto& s) { s.kernelW = 1; },
      [](auto& s) { s.strideH = 2; },
      [](auto& s) { s.strideW = 2; },
      [](auto& s) { s.padH = 2; },
      [](auto& s) { s.padW = 2; },
      [](auto& s) { s.dilationH = 2; },
      [](auto& s) { s.dilationW = 2; },
      [](auto& s) { s.groups = 2; },
      [](auto& s) { s.inputPitch = 24; },
      [](auto& s) { s.outputPitch = 24; },
      [](auto& s) { s.residualPitch = 24; },
      [](auto& s) { s.residual = false; },
      [](auto& s) { s.relu = false; },
      [](auto& s) { s.dtype = DType::kBFloat16; },
      [](auto& s) { s.outputType = DType::kFloat32; },
      [](auto& s) { s.tf32 = true; },
  };
  std::vector<std::string> seen = {shapeText(shape)};
  for (const auto& change : changes) {
    ConvolutionShape other = shape;
    change(other);
    const std::string text = shapeText(other);
    CHECK_EQ(std::count(seen.begin(), seen.end(), text), 0);
    seen.push_back(text);
  }
  ConvolutionShape dense = shape;
  dense.inputPitch = dense.outputPitch = dense.residualPitch = 16;  // what 0 means
  CHECK_EQ(shapeText(dense), shapeText(shape));
}

}  // namespace
}  // namespace resnet::cuda::test

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
