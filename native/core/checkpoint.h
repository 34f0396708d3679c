// The .safetensors reader: header parsed once, tensors read on demand by pread (never mmap: another
// process truncating the file would kill this one with SIGBUS).
//
// Refused with kCorrupt, before any tensor is read: header longer than 100 MB or than the file,
// header that is not a JSON object, duplicate names, unknown dtypes, negative or overflowing
// shapes, offsets that overlap, leave gaps, run past the file or disagree with dtype x shape,
// trailing bytes. A file whose size or modification time has changed since open is kCorrupt at the
// next read.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"
#include "core/weights.h"

namespace resnet {

class Checkpoint {
 public:
  static constexpr uint64_t kMaxHeaderBytes = 100'000'000;

  static Result<std::shared_ptr<const Checkpoint>> openFile(const std::string& path);
  static Result<std::shared_ptr<const Checkpoint>> openBytes(std::vector<uint8_t> bytes);
  virtual ~Checkpoint() = default;

  // Every tensor in the file, dtypes as text since a file may hold ones that no network reads (I64,
  // F64, ...).
  struct Entry {
    std::string name;
    std::string dtype;  // the file's word: "F32", "F16", "BF16", "I64", ...
    std::vector<int64_t> shape;
    uint64_t begin = 0, end = 0;  // bytes from the start of the data section
  };
  virtual const std::vector<Entry>& entries() const = 0;
  virtual const std::vector<std::pair<std::string, std::string>>& metadata() const = 0;
  // F32, F16 or BF16 to float32; another dtype is kUnsupported naming the tensor.
  virtual Status readFloat32(const Entry& entry, float* destination) const = 0;
};

}  // namespace resnet
