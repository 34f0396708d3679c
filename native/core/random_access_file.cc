#include "core/random_access_file.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#if defined(_WIN32)
#include <filesystem>
#include <fstream>
#include <mutex>
#else
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace resnet {

namespace {

std::string quoted(const std::string& path) {
  std::string text = "'";
  text += path;
  text += '\'';
  return text;
}
Status ioError(const char* what, const std::string& path, const std::string& reason) {
  return Status::error(Code::kIo,
                       std::string("cannot ") + what + " " + quoted(path) + ": " + reason);
}
Status changed(const std::string& path) {
  return Status::error(Code::kCorrupt,
                       quoted(path) + " has changed since it was opened; load it again");
}
Status endedEarly(const std::string& path, uint64_t offset) {
  return Status::error(Code::kCorrupt, quoted(path) + " ended at byte " + std::to_string(offset) +
                                           " while it was read: it was truncated");
}

#if defined(_WIN32)

std::filesystem::path toPath(const std::string& path) {
  return std::filesystem::path(std::u8string(path.begin(), path.end()));
}

class StreamFile final : public RandomAccessFile {
 public:
  StreamFile(std::string path, std::ifstream stream, uint64_t size,
             std::filesystem::file_time_type time)
      : path_(std::move(path)), stream_(std::move(stream)), size_(size), time_(time) {}

  uint64_t size() const override { return size_; }

  Status read(uint64_t offset, void* destination, size_t count) const override {
    RESNET_RETURN_IF_ERROR(checkUnchanged());
    {
      const std::lock_guard lock(mutex_);
      stream_.clear();
      stream_.seekg(std::streamoff(offset));
      stream_.read(static_cast<char*>(destination), std::streamsize(count));
      if (size_t(stream_.gcount()) != count)
        return endedEarly(path_, offset + uint64_t(stream_.gcount()));
    }
    return checkUnchanged();
  }

 private:
  Status checkUnchanged() const {
    std::error_code error;
    const uint64_t size = std::filesystem::file_size(toPath(path_), error);
    if (error) return ioError("read", path_, error.message());
    const auto time = std::filesystem::last_write_time(toPath(path_), error);
    if (error) return ioError("read", path_, error.message());
    return size == size_ && time == time_ ? Status::okay() : changed(path_);
  }

  const std::string path_;
  mutable std::mutex mutex_;
  mutable std::ifstream stream_;
  const uint64_t size_;
  const std::filesystem::file_time_type time_;
};

Result<std::unique_ptr<const RandomAccessFile>> openSystem(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(toPath(path), error);
  if (error) return ioError("open", path, error.message());
  if (std::filesystem::is_directory(status)) return ioError("open", path, "is a directory");
  if (!std::filesystem::is_regular_file(status)) return ioError("open", path, "not a regular file");
  const uint64_t size = std::filesystem::file_size(toPath(path), error);
  if (error) return ioError("open", path, error.message());
  const auto time = std::filesystem::last_write_time(toPath(path), error);
  if (error) return ioError("open", path, error.message());
  std::ifstream stream(toPath(path), std::ios::binary);
  if (!stream) return ioError("open", path, std::generic_category().message(errno));
  return std::unique_ptr<const RandomAccessFile>(
      new StreamFile(path, std::move(stream), size, time));
}

#else

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct Stamp {
  uint64_t size;
  int64_t seconds, nanoseconds;
  bool operator==(const Stamp&) const = default;
};

Stamp stampOf(const struct stat& info) {
#if defined(__APPLE__)
  const timespec& time = info.st_mtimespec;
#else
  const timespec& time = info.st_mtim;
#endif
  return {uint64_t(info.st_size), int64_t(time.tv_sec), int64_t(time.tv_nsec)};
}

std::string systemText(int number) { return std::generic_category().message(number); }

class PosixFile final : public RandomAccessFile {
 public:
  PosixFile(std::string path, Descriptor descriptor, Stamp stamp)
      : path_(std::move(path)), descriptor_(std::move(descriptor)), stamp_(stamp) {}

  uint64_t size() const override { return stamp_.size; }

  Status read(uint64_t offset, void* destination, size_t count) const override {
    RESNET_RETURN_IF_ERROR(checkUnchanged());
    auto* to = static_cast<uint8_t*>(destination);
    while (count > 0) {
      // Systems refuse or cut a single read of 2 GB or more.
      const size_t part = std::min(count, size_t{1} << 30);
      const ssize_t got = ::pread(descriptor_.get(), to, part, off_t(offset));
      if (got < 0) {
        if (errno == EINTR) continue;
        return ioError("read", path_, systemText(errno));
      }
      if (got == 0) return endedEarly(path_, offset);
      to += got;
      offset += uint64_t(got);
      count -= size_t(got);
    }
    return checkUnchanged();
  }

 private:
  Status checkUnchanged() const {
    struct stat info;
    if (::fstat(descriptor_.get(), &info) != 0) return ioError("read", path_, systemText(errno));
    return stampOf(info) == stamp_ ? Status::okay() : changed(path_);
  }

  const std::string path_;
  const Descriptor descriptor_;
  const Stamp stamp_;
};

Result<std::unique_ptr<const RandomAccessFile>> openSystem(const std::string& path) {
  int fd = -1;
  do {
    // Without O_NONBLOCK the open of a pipe would wait for its writer.
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ioError("open", path, systemText(errno));
  Descriptor descriptor(fd);
  struct stat info;
  if (::fstat(fd, &info) != 0) return ioError("open", path, systemText(errno));
  if (S_ISDIR(info.st_mode)) return ioError("open", path, systemText(EISDIR));
  if (!S_ISREG(info.st_mode)) return ioError("open", path, "not a regular file");
  return std::unique_ptr<const RandomAccessFile>(
      new PosixFile(path, std::move(descriptor), stampOf(info)));
}

#endif

}  // namespace

Result<std::unique_ptr<const RandomAccessFile>> RandomAccessFile::open(const std::string& path) {
  // The system would take the part before it and open another file.
  if (path.find('\0') != std::string::npos)
    return Status::error(Code::kInvalidArgument, "a path must not contain a zero byte");
  return openSystem(path);
}

}  // namespace resnet
