// A convolution's weights as cuDNN reads them: norm's scale folded in, channels padded, in the IO
// dtype, uploaded once per model and shared by its programs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/fold.h"
#include "core/weights.h"
#include "cuda/cudnn/convolution.h"
#include "cuda/device.h"

namespace resnet::cuda {

// weight [K'][R][S][C'/groups] and bias [K'] of one step in device memory, K' and C' padded.
struct ConvolutionWeights {
  std::shared_ptr<const PackedBuffer> buffer;
  const void* weight = nullptr;
  const void* bias = nullptr;
};

// Folded and converted, in host memory: the slow half of packing, which any thread may do.
struct HostWeights {
  std::vector<std::byte> bytes;  // empty when the model's store has them already
};
// `shape`: the convolution as it will run, whose channels are padded and whose groups may be fewer
// than the step's: a grouped step whose channels need padding becomes one group of block-diagonal
// weights. kUnsupported where a folded number does not fit into the dtype. Touches no device.
Result<HostWeights> foldForDevice(const Device& device, const Weights& weights,
                                  const ConvStep& step, int channels,
                                  const ConvolutionShape& shape);
// Uploads them, or takes those that another program of the model has uploaded.
Result<ConvolutionWeights> packConvolution(Device& device, const Weights& weights,
                                           const ConvStep& step, int channels,
                                           const ConvolutionShape& shape, HostWeights host);

// `count` floats in device memory, uploaded once per model under `key`.
Result<std::shared_ptr<const PackedBuffer>> packFloats(Device& device, const Weights& weights,
                                                       const std::string& key,
                                                       const std::vector<float>& floats);

}  // namespace resnet::cuda
