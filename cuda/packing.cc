#include "cuda/packing.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace resnet::cuda {
namespace {

constexpr size_t kPartAlignment = 256;  // of the bias behind the weights
constexpr float kLargestFloat16 = 65504.0f;

void store(float value, float* to) { *to = value; }
void store(float value, __half* to) { *to = __float2half_rn(value); }
void store(float value, __nv_bfloat16* to) { *to = __float2bfloat16_rn(value); }

struct Extent {
  int stepGroups = 1, channels = 0;  // of the step, unpadded
  int k = 0;
};

// [K][R][S][C/stepGroups] floats to [K'][R][S][C'/groups] of T; `largest` collects max |w|.
template <typename T>
void fill(const FoldedConv& folded, const Extent& extent, const ConvolutionShape& shape,
          std::byte* weightBytes, std::byte* biasBytes, float& largest) {
  T* weight = reinterpret_cast<T*>(weightBytes);
  T* bias = reinterpret_cast<T*>(biasBytes);
  const int from = extent.channels / extent.stepGroups, to = shape.c / shape.groups;
  const int taps = shape.kernelH * shape.kernelW;
  const int groupOutputs = extent.k / extent.stepGroups;
  for (int k = 0; k < extent.k; ++k) {
    // Where the group's channels lie: at its own place when its groups were joined into one.
    const int place = shape.groups == extent.stepGroups ? 0 : k / groupOutputs * from;
    for (int tap = 0; tap < taps; ++tap) {
      const float* source = folded.weight.data() + (size_t(k) * taps + tap) * from;
      T* target = weight + (size_t(k) * taps + tap) * to + place;
      for (int c = 0; c < from; ++c) {
        const float value = source[c] * folded.scale[size_t(k)];
        largest = std::max(largest, std::abs(value));
        store(value, target + c);
      }
    }
    largest = std::max(largest, std::abs(folded.shift[size_t(k)]));
    store(folded.shift[size_t(k)], bias + k);
  }
}

Result<std::shared_ptr<const PackedBuffer>> keep(Device& device, const Weights& weights,
                                                 const std::string& key, const void* host,
                                                 size_t bytes) {
  auto memory = device.allocate(MemoryKind::kWeights, bytes, "the weights");
  if (!memory.ok()) return memory.takeStatus();
  auto owner = std::make_shared<DeviceMemory>(memory.take());
  RESNET_RETURN_IF_ERROR(device.upload(owner->data(), host, bytes));
  auto buffer = std::make_shared<PackedBuffer>();
  buffer->data = owner->data();
  buffer->bytes = bytes;
  buffer->owners.push_back(std::move(owner));
  return weights.packed().insert(key, std::move(buffer));
}

std::string keyOf(const Device& device, const ConvStep& step, int channels,
                  const ConvolutionShape& shape) {
  return packingKey(device.identity() + " krsc " + dtypeName(shape.dtype) + " k" +
                        std::to_string(shape.k) + " c" + std::to_string(shape.c) + " groups" +
                        std::to_string(shape.groups),
                    step, channels);
}

size_t biasOffset(const ConvolutionShape& shape) {
  const size_t filter = size_t(shape.kernelH) * shape.kernelW * (shape.c / shape.groups);
  const size_t bytes = size_t(shape.k) * filter * dtypeBytes(shape.dtype);
  return (bytes + kPartAlignment - 1) / kPartAlignment * kPartAlignment;
}

}  // namespace

Result<HostWeights> foldForDevice(const Device& device, const Weights& weights,
                                  const ConvStep& step, int channels,
                                  const ConvolutionShape& shape) {
  if (weights.packed().find(keyOf(device, step, channels, shape)) != nullptr) return HostWeights{};
  auto folded = foldConv(step, channels, weights);
  if (!folded.ok()) return folded.takeStatus();
  HostWeights host;
  const size_t bias = biasOffset(shape);
  host.bytes.resize(bias + size_t(shape.k) * dtypeBytes(shape.dtype));
  const Extent extent{step.groups, channels, step.k};
  const auto fillAs = shape.dtype == DType::kFloat32   ? fill<float>
                      : shape.dtype == DType::kFloat16 ? fill<__half>
                                                       : fill<__nv_bfloat16>;
  float largest = 0;
  fillAs(folded.value(), extent, shape, host.bytes.data(), host.bytes.data() + bias, largest);
  if (shape.dtype == DType::kFloat16 && largest > kLargestFloat16 && std::isfinite(largest)) {
    return Status::error(Code::kUnsupported,
                         "weights with the norm folded in must stay below 65504 for float16, got " +
                             std::to_string(largest) + "; use dtype 'bfloat16' or 'float32'");
  }
  return host;
}

Result<ConvolutionWeights> packConvolution(Device& device, const Weights& weights,
                                           const ConvStep& step, int channels,
                                           const ConvolutionShape& shape, HostWeights host) {
  const std::string key = keyOf(device, step, channels, shape);
  ConvolutionWeights packed;
  packed.buffer = weights.packed().find(key);
  if (packed.buffer == nullptr) {
    auto kept = keep(device, weights, key, host.bytes.data(), host.bytes.size());
    if (!kept.ok()) return kept.takeStatus();
    packed.buffer = kept.take();
  }
  const auto* data = static_cast<const std::byte*>(packed.buffer->data);
  packed.weight = data;
  packed.bias = data + biasOffset(shape);
  return packed;
}

Result<std::shared_ptr<const PackedBuffer>> packFloats(Device& device, const Weights& weights,
                                                       const std::string& key,
                                                       const std::vector<float>& floats) {
  const std::string full = device.identity() + " floats " + key;
  if (auto found = weights.packed().find(full)) return found;
  return keep(device, weights, full, floats.data(), floats.size() * sizeof(float));
}

}  // namespace resnet::cuda
