// Where a program's parameters come from: a checkpoint, tensors in memory, or a seeded formula.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/status.h"

namespace resnet {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
};

// Packed parameters shared by all programs of one model: same packing id and parameters, same
// bytes.
struct PackedBuffer {
  std::vector<std::shared_ptr<void>> owners;  // keeps `data` alive
  const float* data = nullptr;
  size_t bytes = 0;
};

class PackedStore {
 public:
  // Null when absent. Key: packing id + parameter names + every option that packing reads.
  std::shared_ptr<const PackedBuffer> find(const std::string& key) const;
  // Keeps the first of two racing insertions and returns it.
  std::shared_ptr<const PackedBuffer> insert(const std::string& key,
                                             std::shared_ptr<const PackedBuffer> buffer);
  size_t bytes() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const PackedBuffer>> entries_;
};

// Immutable, thread-safe. read() may do file input: call it off the JavaScript thread.
class Weights {
 public:
  virtual ~Weights() = default;
  // Null when there is no such parameter.
  virtual const TensorInfo* find(std::string_view name) const = 0;
  // The whole tensor as float32 in the checkpoint's order (conv: K, C/groups, R, S). `count` is the
  // element count the caller expects; another one is kMismatch.
  virtual Status read(std::string_view name, float* destination, size_t count) const = 0;

  PackedStore& packed() const { return packed_; }

 private:
  mutable PackedStore packed_;
};

// Tensors copied from the caller (the eager ops).
struct OwnedTensor {
  TensorInfo info;
  std::vector<uint8_t> bytes;  // dense, little endian, of info.dtype
};
std::shared_ptr<const Weights> makeOwnedWeights(std::vector<OwnedTensor> tensors);

// Parameters by formula: element i of tensor `name` is lo + (hi - lo) * u, where
//   u = (splitmix64(fnv1a64(name) ^ splitmix64(seed) + i * 0x9E3779B97F4A7C15) >> 40) * 2^-24,  (^
//   binds first)
// splitmix64 being Steele's finaliser; everything in float32, one fused rounding each (mul, then
// add). It needs no libm, so test/fixtures recompute it bit for bit in Python.
struct FormulaTensor {
  std::string name;
  std::vector<int64_t> shape;
  float lo = 0, hi = 0;
};
std::shared_ptr<const Weights> makeFormulaWeights(uint64_t seed,
                                                  std::vector<FormulaTensor> tensors);

class Checkpoint;
// `names`: parameter name of the plan -> tensor name of the checkpoint.
std::shared_ptr<const Weights> makeCheckpointWeights(std::shared_ptr<const Checkpoint> checkpoint,
                                                     std::map<std::string, std::string> names);

// A folded batch norm: y = x * scale + shift, in double, rounded once (Ioffe & Szegedy 2015,
// inference form):
//   scale = weight / sqrt(var + eps), shift = bias - mean * scale.
}  // namespace resnet
