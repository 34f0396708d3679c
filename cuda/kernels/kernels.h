// Our own kernels: what cuDNN lacks, refuses or does slowly. Every function enqueues on `stream`,
// allocates nothing, and returns the launch's error. T is float32, float16 or bfloat16 by
// View::dtype; arithmetic is float32. All values of one call have one dtype (topK's indices apart) and
// one n; anything else, and a k or a crop that does not fit, is cudaErrorInvalidValue. n = 0 is nothing
// to do.
#pragma once

#include "core/picture.h"
#include "cuda/value.h"

namespace resnet::cuda {

// In which order a kernel takes the images of a batch. Blocks begin in the order of their numbers, so that
// the images taken first are those that a kernel before, which went the other way, wrote last.
enum class ImageOrder { kForward, kReverse };

// Caller's memory (float32, float16, bfloat16, or uint8 pixels normalised as (x / 255 - mean) / std),
// NCHW or NHWC and dense, to a value. mean and std: device memory, c floats; null unless uint8.
struct InputArguments {
  const void* source = nullptr;
  DType sourceType = DType::kFloat32;
  bool nhwc = false;
  const float* mean = nullptr;
  const float* std = nullptr;
  View to;
  ImageOrder order = ImageOrder::kForward;
};
cudaError_t input(const InputArguments& arguments, cudaStream_t stream);

// A value to the caller's dense memory: float32 NCHW or NHWC; int32 values are copied as they are.
struct OutputArguments {
  View from;
  void* destination = nullptr;
  bool nhwc = false;
  ImageOrder order = ImageOrder::kForward;
};
cudaError_t output(const OutputArguments& arguments, cudaStream_t stream);

struct PoolArguments {
  View from, to;
  int kernelH = 1, kernelW = 1, strideH = 1, strideW = 1, padH = 0, padW = 0, dilationH = 1,
      dilationW = 1;
  bool countIncludePad = true;  // average only
  ImageOrder order = ImageOrder::kForward;
};
cudaError_t maxPool(const PoolArguments& arguments, cudaStream_t stream);  // NaN wins, as PyTorch
cudaError_t avgPool(const PoolArguments& arguments, cudaStream_t stream);
cudaError_t globalAvgPool(View from, View to, ImageOrder order, cudaStream_t stream);

// y = act(x * scale + shift); scale, shift: device memory, c floats.
cudaError_t affine(View from, View to, const float* scale, const float* shift, bool relu,
                   cudaStream_t stream);
cudaError_t add(View a, View b, View to, bool relu, cudaStream_t stream);
cudaError_t relu(View from, View to, cudaStream_t stream);

// Vectors only. The maximum is subtracted first; sums in float32.
cudaError_t softmax(View from, View to, cudaStream_t stream);
// Sorted by falling score, ties by rising index, NaN above every number; indices are int32.
cudaError_t topK(View from, View scores, View indices, int k, cudaStream_t stream);

// Weights, packed once: float32 [K][R][S][C/groups] with scale [K] folded in, to [K'][R][S][C'] of
// `to`, channels and outputs beyond the real ones zero. All device memory. `to` has n = K', h = R,
// w = S, pitch = C'.
struct PackArguments {
  const float* weight = nullptr;
  const float* scale = nullptr;
  int k = 0, c = 0;  // real outputs, and real channels of one group
  View to;
};
cudaError_t packWeights(const PackArguments& arguments, cudaStream_t stream);

// A decoded picture to a resized, cropped and normalised value: as PIL's resize with antialiasing and
// torchvision's crop, each level of each pixel equal; coefficients are computed on the device.
struct ResizeArguments {
  const uint8_t* source = nullptr;  // the picture's first pixel that is in memory
  Picture picture;
  Interpolation interpolation = Interpolation::kBilinear;
  const float* mean = nullptr;
  const float* std = nullptr;
  View to;                   // n = 1
  float* scratch = nullptr;  // resizeScratchFloats() floats of device memory
};
size_t resizeScratchFloats(const ResizeArguments& arguments);
cudaError_t resize(const ResizeArguments& arguments, cudaStream_t stream);

}  // namespace resnet::cuda
