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

}  // namespace

Result<ConvolutionWeights> packConvolution(Device& device, const Weights& weights,
                                           const ConvStep& step, int channels,
                                           const ConvolutionShape& shape) {
  const size_t element = dtypeBytes(shape.dtype);
  const size_t filter = size_t(shape.kernelH) * shape.kernelW * (shape.c / shape.groups);
  const size_t biasOffset =
      (size_t(shape.k) * filter * element + kPartAlignment - 1) / kPartAlignment * kPartAlignment;
  const std::string key = keyOf(device, step, channels, shape);
  ConvolutionWeights packed;
  packed.buffer = weights.packed().find(key);
  if (packed.buffer == nullptr) {
    auto folded = foldConv(step, channels, weights);
    if (!folded.ok()) return folded.takeStatus();
    std::vector<std::byte> host(biasOffset + size_t(shape.k) * element);
    const Extent extent{step.groups, channels, step.k};
    const auto fillAs = shape.dtype == DType::kFloat32   ? fill<float>
                        : shape.dtype == DType::kFloat16 ? fill<__half>
                                                         : fill<__nv_bfloat16>;
    float largest = 0;
    fillAs(folded.value(), extent, shape, host.data(), host.data() + biasOffset, largest);
    if (shape.dtype == DType::kFloat16 && largest > kLargestFloat16 && std::isfinite(largest)) {
      return Status::error(
          Code::kUnsupported,
          "weights with the norm folded in must stay below 65504 for float16, got " +
              std::to_string(largest) + "; use dtype 'bfloat16' or 'float32'");
    }
    auto kept = keep(device, weights, key, host.data(), host.size());
    if (!kept.ok()) return kept.takeStatus();
    packed.buffer = kept.take();
  }
  const auto* data = static_cast<const std::byte*>(packed.buffer->data);
  packed.weight = data;
  packed.bias = data + biasOffset;
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
