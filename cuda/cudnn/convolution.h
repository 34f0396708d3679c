// The convolutions of a plan as cuDNN operation graphs. convolution.cc is the only file that sees
// cudnn_frontend; nothing of it, and no exception, leaves it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"
#include "cuda/value.h"

namespace resnet::cuda {

// y = relu(conv(x, w) + residual + bias), NHWC, accumulated in float32. w [K][R][S][C/groups] has the
// scale folded in and, like bias [K], the dtype of x. Channel counts are the padded ones.
struct ConvolutionShape {
  int n = 1, h = 1, w = 1, c = 1, k = 1;
  int kernelH = 1, kernelW = 1, strideH = 1, strideW = 1, padH = 0, padW = 0, dilationH = 1,
      dilationW = 1, groups = 1;
  int inputPitch = 0, outputPitch = 0, residualPitch = 0;  // 0: dense (c, k, k)
  bool residual = false, relu = false;
  DType dtype = DType::kFloat16;       // of x, w, bias, residual
  DType outputType = DType::kFloat16;  // float32 for logits
  bool tf32 = false;

  bool operator==(const ConvolutionShape&) const = default;
};

// "conv n1 c64 h56 w56 k64 r3 s3 stride2x2 pad1x1 ... float16": one line, different for different shapes.
std::string shapeText(const ConvolutionShape& shape);

// Of the output's map.
struct OutputSize {
  int p = 0, q = 0;
};
OutputSize outputSize(const ConvolutionShape& shape);
// kInvalidArgument for what is no convolution of float32, float16 or bfloat16.
Status checkShape(const ConvolutionShape& shape);
// Whether it is a matrix product of the same memory: a 1x1 convolution of 1x1 maps, as a linear step is.
bool isMatmul(const ConvolutionShape& shape);

// The names under which the tensors of a graph are bound, in the graph's JSON too.
enum ConvolutionUid : int64_t {
  kInputUid = 1,
  kWeightUid,
  kBiasUid,
  kResidualUid,
  kOutputUid,
};

// One shape is stated in several forms, because cuDNN keeps different engines for them. kPrecompiled adds
// the residual before the bias, the form of the kernels that cuDNN carries; kGeneric adds it after, which
// only engines compiled at run time take. Without a residual kGeneric swaps the operands of the bias's
// addition: cuDNN 9.24 answers with precompiled engines again, which are left to the first form, and but for
// Turing with one compiled at run time (real_cudnn_test.cc). It has more of those for a float32 bias, which
// no form states (docs/cudnn-questions.md). kMatmul is for isMatmul() alone, and compiled at run time too.
enum class GraphForm { kPrecompiled, kGeneric, kMatmul };

// The operation graph as cudnn_frontend's JSON. Needs neither cuDNN nor a device.
Result<std::string> convolutionGraph(const ConvolutionShape& shape, GraphForm form);

// Of cudnn_frontend, as 11800: part of what a cached engine depends on.
int cudnnFrontendVersion();

struct ConvolutionBuffers {
  const void* input = nullptr;
  const void* weight = nullptr;
  const void* bias = nullptr;
  const void* residual = nullptr;
  void* output = nullptr;  // shares memory with none of the others
  void* workspace = nullptr;
};

// One cuDNN engine with its knobs, built for one shape. Immutable; used with one handle at a time.
class ConvolutionEngine {
 public:
  virtual ~ConvolutionEngine() = default;
  virtual const std::string& name() const = 0;  // "eng48_k2=5_k6=1", or so
  virtual size_t workspaceBytes() const = 0;
  virtual bool runtimeCompiled() const = 0;
  virtual bool deterministic() const = 0;
  virtual Status enqueue(const ConvolutionBuffers& buffers, cudaStream_t stream) const = 0;
  virtual Result<std::string> serialise() const = 0;
};

struct EngineQuery {
  size_t workspaceLimit = size_t{256} << 20;
  bool deterministic = false;
  int limit = 0;  // engines wanted at most of each form; 0: all
};

// A cuDNN handle and what is built with it. For one thread at a time.
class CudnnContext {
 public:
  virtual ~CudnnContext() = default;
  // The order of preference: precompiled engines as cuDNN orders them, then run-time compiled ones, which
  // take a second each to build: with a limit they are asked for only where there are no others, two
  // at most. Matrix products ("matmul eng0_k2=1") stand between them, and are left out only by a limit
  // of 1. `refused` collects "engine: reason". kUnsupported when none is left.
  virtual Result<std::vector<std::shared_ptr<const ConvolutionEngine>>> engines(
      const ConvolutionShape& shape, const EngineQuery& query,
      std::vector<std::string>& refused) = 0;
  // An engine from serialise(); kCorrupt for what this cuDNN or this device refuses.
  virtual Result<std::shared_ptr<const ConvolutionEngine>> deserialise(
      const ConvolutionShape& shape, const std::string& bytes) = 0;
};

// The loaded cuDNN: opened by name once per process, never closed. kUnavailable says what was tried and
// why it failed. Tried in this order, and in a folder as F, F/lib, F/lib64, F/nvidia/cudnn/lib (the
// site-packages of Python) and F/lib/python3*/site-packages/nvidia/cudnn/lib (an environment of it):
//   1. RESNET_CUDNN, the path of the file; when set nothing else is tried
//   2. the folders of RESNET_CUDNN_DIR, separated by colons
//   3. libcudnn.so.9 by the loader's own rules (LD_LIBRARY_PATH, its cache, the system's folders)
//   4. the folders of CUDNN_PATH, CUDNN_HOME, VIRTUAL_ENV and CONDA_PREFIX, then /usr/local/cuda
struct CudnnLibrary {
  std::string path;
  size_t version = 0;  // 92400
};
Result<CudnnLibrary> openCudnn();
// For the current device. Needs openCudnn().
Result<std::unique_ptr<CudnnContext>> makeCudnnContext();

}  // namespace resnet::cuda
