#include "core/weights.h"

#include "core/checkpoint.h"
#include "core/json.h"
#include "core/shape.h"

namespace resnet {

namespace {

Status missing(std::string_view name) {
  return Status::error(Code::kMismatch, "the weights have no parameter " + json::quote(name));
}

// The caller's count against the tensor's shape.
Status checkCount(const TensorInfo& info, size_t count) {
  const std::optional<uint64_t> elements = elementCount(info.shape);
  if (elements && *elements == count) return Status::okay();
  return Status::error(Code::kMismatch, "tensor " + json::quote(info.name) + " must have " +
                                            std::to_string(count) + " elements, got shape " +
                                            shapeText(info.shape));
}

template <typename T>
class ByName {
 public:
  void add(std::string name, T item) { items_.insert_or_assign(std::move(name), std::move(item)); }
  const T* find(std::string_view name) const {
    const auto found = items_.find(name);
    return found == items_.end() ? nullptr : &found->second;
  }

 private:
  std::map<std::string, T, std::less<>> items_;
};

class OwnedWeights final : public Weights {
 public:
  explicit OwnedWeights(std::vector<OwnedTensor> tensors) {
    for (OwnedTensor& tensor : tensors) {
      std::string name = tensor.info.name;
      tensors_.add(std::move(name), std::move(tensor));
    }
  }

  const TensorInfo* find(std::string_view name) const override {
    const OwnedTensor* tensor = tensors_.find(name);
    return tensor == nullptr ? nullptr : &tensor->info;
  }

  Status read(std::string_view name, float* destination, size_t count) const override {
    const OwnedTensor* tensor = tensors_.find(name);
    if (tensor == nullptr) return missing(name);
    RESNET_RETURN_IF_ERROR(checkCount(tensor->info, count));
    const DType dtype = tensor->info.dtype;
    if (dtype != DType::kFloat32 && dtype != DType::kFloat16 && dtype != DType::kBFloat16)
      return Status::error(Code::kUnsupported, "tensor " + json::quote(name) +
                                                   " must be float32, float16 or bfloat16, got " +
                                                   dtypeName(dtype));
    if (tensor->bytes.size() / dtypeBytes(dtype) != count ||
        tensor->bytes.size() % dtypeBytes(dtype) != 0)
      return Status::error(Code::kMismatch, "tensor " + json::quote(name) + " of shape " +
                                                shapeText(tensor->info.shape) + " and dtype " +
                                                dtypeName(dtype) + " has " +
                                                std::to_string(tensor->bytes.size()) + " bytes");
    convertToFloat32(dtype, tensor->bytes.data(), count, destination);
    return Status::okay();
  }

 private:
  ByName<OwnedTensor> tensors_;
};

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;

uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

uint64_t fnv1a64(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text) hash = (hash ^ uint8_t(c)) * 0x100000001B3u;
  return hash;
}

class FormulaWeights final : public Weights {
 public:
  FormulaWeights(uint64_t seed, std::vector<FormulaTensor> tensors) : seed_(seed) {
    for (FormulaTensor& tensor : tensors) {
      TensorInfo info{tensor.name, DType::kFloat32, std::move(tensor.shape)};
      tensors_.add(std::move(tensor.name), {std::move(info), tensor.lo, tensor.hi});
    }
  }

  const TensorInfo* find(std::string_view name) const override {
    const Tensor* tensor = tensors_.find(name);
    return tensor == nullptr ? nullptr : &tensor->info;
  }

  Status read(std::string_view name, float* destination, size_t count) const override {
    const Tensor* tensor = tensors_.find(name);
    if (tensor == nullptr) return missing(name);
    RESNET_RETURN_IF_ERROR(checkCount(tensor->info, count));
    uint64_t state = mix(seed_ + kGolden) ^ fnv1a64(name);
    const float lo = tensor->lo, width = tensor->hi - tensor->lo;
    for (size_t i = 0; i < count; ++i) {
      state += kGolden;
      const float u = float(mix(state) >> 40) * 0x1p-24f;
      const float scaled = width * u;
      destination[i] = lo + scaled;
    }
    return Status::okay();
  }

 private:
  struct Tensor {
    TensorInfo info;
    float lo, hi;
  };
  const uint64_t seed_;
  ByName<Tensor> tensors_;
};

class CheckpointWeights final : public Weights {
 public:
  CheckpointWeights(std::shared_ptr<const Checkpoint> checkpoint,
                    std::map<std::string, std::string> names)
      : checkpoint_(std::move(checkpoint)) {
    ByName<const Checkpoint::Entry*> entries;
    for (const Checkpoint::Entry& entry : checkpoint_->entries()) entries.add(entry.name, &entry);
    for (auto& [parameter, tensorName] : names) {
      const Checkpoint::Entry* const* entry = entries.find(tensorName);
      if (entry == nullptr) {
        absent_.add(parameter, std::move(tensorName));
        continue;
      }
      TensorInfo info{(*entry)->name, dtypeOf((*entry)->dtype), (*entry)->shape};
      tensors_.add(parameter, {std::move(info), *entry});
    }
  }

  const TensorInfo* find(std::string_view name) const override {
    const Tensor* tensor = tensors_.find(name);
    return tensor == nullptr ? nullptr : &tensor->info;
  }

  Status read(std::string_view name, float* destination, size_t count) const override {
    const Tensor* tensor = tensors_.find(name);
    if (tensor == nullptr) {
      const std::string* tensorName = absent_.find(name);
      if (tensorName == nullptr) return missing(name);
      return Status::error(Code::kMismatch, "the checkpoint has no tensor " +
                                                json::quote(*tensorName) +
                                                ", named for parameter " + json::quote(name));
    }
    RESNET_RETURN_IF_ERROR(checkCount(tensor->info, count));
    return checkpoint_->readFloat32(*tensor->entry, destination);
  }

 private:
  struct Tensor {
    TensorInfo info;
    const Checkpoint::Entry* entry;  // of checkpoint_
  };
  static DType dtypeOf(std::string_view word) {
    if (word == "F16") return DType::kFloat16;
    if (word == "BF16") return DType::kBFloat16;
    if (word == "U8") return DType::kUint8;
    if (word == "I32") return DType::kInt32;
    return DType::kFloat32;
  }

  const std::shared_ptr<const Checkpoint> checkpoint_;
  ByName<Tensor> tensors_;
  ByName<std::string> absent_;  // parameter -> the tensor that the checkpoint lacks
};

}  // namespace

std::shared_ptr<const PackedBuffer> PackedStore::find(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : found->second;
}

std::shared_ptr<const PackedBuffer> PackedStore::insert(
    const std::string& key, std::shared_ptr<const PackedBuffer> buffer) {
  const std::lock_guard lock(mutex_);
  return entries_.emplace(key, std::move(buffer)).first->second;
}

size_t PackedStore::bytes() const {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& [_, buffer] : entries_) total += buffer->bytes;
  return total;
}

std::shared_ptr<const Weights> makeOwnedWeights(std::vector<OwnedTensor> tensors) {
  return std::make_shared<OwnedWeights>(std::move(tensors));
}
std::shared_ptr<const Weights> makeFormulaWeights(uint64_t seed,
                                                  std::vector<FormulaTensor> tensors) {
  return std::make_shared<FormulaWeights>(seed, std::move(tensors));
}
std::shared_ptr<const Weights> makeCheckpointWeights(std::shared_ptr<const Checkpoint> checkpoint,
                                                     std::map<std::string, std::string> names) {
  return std::make_shared<CheckpointWeights>(std::move(checkpoint), std::move(names));
}

}  // namespace resnet
