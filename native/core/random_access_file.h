// A regular file read at offsets, which notices when somebody changes it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/status.h"

namespace resnet {

// Immutable and thread-safe: no file position is shared.
class RandomAccessFile {
 public:
  // kIo with the operating system's words; also for a directory, a pipe or a device.
  static Result<std::unique_ptr<const RandomAccessFile>> open(const std::string& path);
  virtual ~RandomAccessFile() = default;

  virtual uint64_t size() const = 0;  // at open
  // Exactly `count` bytes. kCorrupt when size or modification time differ from those at open, before or
  // after reading; kIo when the system fails.
  virtual Status read(uint64_t offset, void* destination, size_t count) const = 0;
};

}  // namespace resnet
