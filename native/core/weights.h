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

// Packed parameters shared by all programs of one model: same packing id and parameters, same bytes.
struct PackedBuffer {
  std::vector<std::shared_ptr<void>> owners;  // keeps `data` alive
  const void* data = nullptr;                 // as the packing lays it out, on the packing's device
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

// Parameters by formula, computed alike in test/fixtures (Python): integers modulo 2^64, no libm.
//   mix(z):        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9; z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
//                  z ^ (z >> 31)                            (SplitMix64's finaliser, Steele et al. 2014)
//   splitmix64(x): mix(x + 0x9E3779B97F4A7C15)              (its first output when seeded with x)
//   state:         splitmix64(seed) ^ fnv1a64(name)         (FNV-1a over the name's UTF-8 bytes)
//   u[i]:          (mix(state + (i + 1) * 0x9E3779B97F4A7C15) >> 40) * 2^-24          in [0, 1), exact
//   element i:     lo + (hi - lo) * u[i]     float32, rounded after each of the three operations
// Element i counts in the checkpoint's order (conv: K, C/groups, R, S). Golden values:
//   seed 0,  "conv1.weight",        i 0, [0, 1):  0.4023142457008362    (bits 0x3ECDFC22)
//   seed 42, "layer1.0.bn2.weight", i 7, [-1, 1): -0.24628758430480957  (bits 0xBE7C32D0)
//   seed 2^53 - 1, "x", i 1000000, [-0.05, 0.3):  0.09084227681159973   (bits 0x3DBA0B84)
struct FormulaTensor {
  std::string name;
  std::vector<int64_t> shape;
  float lo = 0, hi = 0;
};
std::shared_ptr<const Weights> makeFormulaWeights(uint64_t seed,
                                                  std::vector<FormulaTensor> tensors);

class Checkpoint;
// `names`: parameter name of the plan -> tensor name of the checkpoint. A tensor whose dtype no network
// reads (I64, ...) is found as float32 and refused by read(), with the file's word for its dtype.
std::shared_ptr<const Weights> makeCheckpointWeights(std::shared_ptr<const Checkpoint> checkpoint,
                                                     std::map<std::string, std::string> names);

}  // namespace resnet
