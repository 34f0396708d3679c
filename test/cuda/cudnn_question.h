// Questions to cuDNN about convolutions that the backend does not state yet: 8-bit operands with scales,
// channel pitches. Only what cuDNN would run them with is asked; nothing runs.
#pragma once

#include <map>
#include <string>

#include "cuda/cudnn/convolution.h"

namespace resnet::cuda::test {

enum class Element { kInt8, kUint8, kE4m3, kFloat16, kBFloat16, kFloat32 };

// What multiplies the accumulated sum.
enum class Scale {
  kNone,    // 1: the scales are in the weights, the bias has their type
  kScalar,  // one float32 for the whole tensor
  kVector,  // a float32 for each output channel
};

// y = relu(conv(x, w) * scale[k] + bias[k] + z * residual). With a scale the sum is int32 for integers,
// float32 for the others, everything after it float32, and z one float32; without, z is 1.
struct CudnnQuestion {
  ConvolutionShape shape;  // its sizes, pitches and what is fused; its types are not looked at
  Element input = Element::kInt8, weight = Element::kInt8, residual = Element::kInt8;
  Element output = Element::kInt8;
  Scale scale = Scale::kVector;
  bool residualFirst = false;  // before the bias
  bool float32Bias = false;    // without a scale too: then only engines compiled at run time match
};

struct CudnnAnswer {
  struct Engine {
    int configurations = 0;
    bool compiled = false;     // at run time
    bool tensorCores = false;  // by cuDNN's note of it
    int64_t workspace = 0;     // bytes, of the configuration that wants least
  };
  std::map<int, Engine> engines;  // by cuDNN's number
  std::string refusal;            // cuDNN's words, when it has none
  Status built;                   // of the first configuration, where that was asked for

  int configurations(bool compiled) const;
};

// Asks the heuristics, then those of last resort, for the device that describeDevice() named last. Only
// configurations within the workspace count. `build`: makes a plan of the first of them too, which
// compiles where it is compiled at run time.
CudnnAnswer askCudnn(const CudnnQuestion& question, int64_t workspaceLimit, bool build);

}  // namespace resnet::cuda::test
