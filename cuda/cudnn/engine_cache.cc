#include "cuda/cudnn/engine_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <string_view>

namespace resnet::cuda {
namespace {

// The file: magic, checksum of all that follows, then the key and the choice, strings with their
// lengths, numbers little-endian. The magic changes with the format.
constexpr std::string_view kMagic = "resnet engine 1\n";
constexpr std::string_view kSuffix = ".engine";
constexpr std::string_view kUnfinished = ".unfinished-";
constexpr uint64_t kMaxRefused = 4096;

// FNV-1a. Not against forgery, which access rights stop, but against chance: any single changed byte
// changes it, any other damage passes once in 2^64.
uint64_t checksum(std::string_view bytes, uint64_t state = 0xcbf29ce484222325u) {
  for (const char byte : bytes) state = (state ^ static_cast<uint8_t>(byte)) * 0x100000001b3u;
  return state;
}

std::string hex(uint64_t value) {
  std::string text(16, '0');
  for (size_t i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

class Writer {
 public:
  void number(uint64_t value) {
    for (int i = 0; i < 8; ++i) bytes_.push_back(static_cast<char>(value >> (8 * i)));
  }
  void string(std::string_view text) {
    number(text.size());
    bytes_.append(text);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Reads what Writer wrote; after the first thing that does not fit, everything is empty and ok() false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  uint64_t number() {
    if (rest_.size() < 8) return fail(), 0;
    uint64_t value = 0;
    for (size_t i = 0; i < 8; ++i) value |= uint64_t{static_cast<uint8_t>(rest_[i])} << (8 * i);
    rest_.remove_prefix(8);
    return value;
  }
  std::string_view string() {
    const uint64_t size = number();
    if (size > rest_.size()) return fail(), std::string_view();
    const std::string_view text = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return text;
  }
  bool ok() const { return ok_; }
  bool atEnd() const { return ok_ && rest_.empty(); }
  std::string_view rest() const { return rest_; }

 private:
  void fail() {
    ok_ = false;
    rest_ = {};
  }
  std::string_view rest_;
  bool ok_ = true;
};

std::string encode(const std::string& key, const StoredChoice& choice) {
  Writer body;
  body.string(key);
  body.string(choice.name);
  body.string(choice.engine);
  body.number(std::bit_cast<uint64_t>(choice.milliseconds));
  body.number(choice.refused.size());
  for (const std::string& reason : choice.refused) body.string(reason);
  Writer sum;
  sum.number(checksum(body.bytes()));
  return std::string(kMagic) + sum.bytes() + body.bytes();
}

std::optional<StoredChoice> decode(std::string_view file, const std::string& key) {
  if (!file.starts_with(kMagic)) return std::nullopt;
  Reader reader(file.substr(kMagic.size()));
  const uint64_t sum = reader.number();
  if (!reader.ok() || checksum(reader.rest()) != sum || reader.string() != key) return std::nullopt;
  StoredChoice choice;
  choice.name = reader.string();
  choice.engine = reader.string();
  choice.milliseconds = std::bit_cast<double>(reader.number());
  const uint64_t count = reader.number();
  if (count > kMaxRefused) return std::nullopt;
  for (uint64_t i = 0; i < count; ++i) choice.refused.emplace_back(reader.string());
  if (!reader.atEnd()) return std::nullopt;
  return choice;
}

class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  int get() const { return descriptor_; }
  bool close() { return ::close(std::exchange(descriptor_, -1)) == 0; }

 private:
  int descriptor_;
};

std::optional<std::string> readOwn(const std::string& path, uint64_t limit) {
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat status = {};
  if (file.get() < 0 || fstat(file.get(), &status) != 0) return std::nullopt;
  // A run-time compiled engine is code: it is taken from ourselves alone, not from who may write here.
  const bool own = status.st_uid == geteuid() && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
  if (!S_ISREG(status.st_mode) || !own || static_cast<uint64_t>(status.st_size) > limit)
    return std::nullopt;
  std::string bytes(static_cast<size_t>(status.st_size), '\0');
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t got = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::nullopt;
    done += static_cast<size_t>(got);
  }
  futimens(file.get(), nullptr);  // used just now; failing to say so costs its place, no more
  return bytes;
}

Status ioError(const std::string& what, const std::string& path) {
  return Status::error(Code::kIo,
                       "engine cache: " + what + " " + path + ": " + std::strerror(errno));
}

Status makeFolder(const std::string& folder) {
  for (size_t at = folder.find('/', 1);; at = folder.find('/', at + 1)) {
    const std::string part = folder.substr(0, at);
    if (!part.empty() && ::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST)
      return ioError("could not make the folder", part);
    if (at == std::string::npos) return Status::okay();
  }
}

Status writeAll(int descriptor, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return ioError("could not write", path);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return Status::okay();
}

struct Entry {
  std::string path;
  uint64_t bytes = 0;
  timespec used = {};
};

bool olderThan(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

}  // namespace

EngineCache::EngineCache(std::string folder, const EngineEnvironment& environment)
    : EngineCache(std::move(folder), environment, Limits()) {}

EngineCache::EngineCache(std::string folder, const EngineEnvironment& environment, Limits limits)
    : folder_(std::move(folder)), limits_(limits) {
  Writer writer;
  writer.number(environment.cudnn);
  writer.number(static_cast<uint64_t>(environment.frontend));
  writer.number(static_cast<uint64_t>(environment.capabilityMajor));
  writer.number(static_cast<uint64_t>(environment.capabilityMinor));
  writer.number(static_cast<uint64_t>(environment.multiprocessors));
  writer.string(environment.device);
  writer.string(environment.driver);
  writer.string(environment.kernels);
  environment_ = writer.bytes();
}

std::string EngineCache::key(const std::string& graph) const { return environment_ + graph; }

std::string EngineCache::path(const std::string& graph) const {
  // Two keys may share a name once in 2^64; the key in the file tells them apart.
  return folder_ + "/" + hex(checksum(key(graph))) + std::string(kSuffix);
}

std::optional<StoredChoice> EngineCache::load(const std::string& graph) const {
  const std::optional<std::string> file = readOwn(path(graph), limits_.entryBytes);
  return file.has_value() ? decode(*file, key(graph)) : std::nullopt;
}

void EngineCache::remove(const std::string& graph) const { ::unlink(path(graph).c_str()); }

Status EngineCache::store(const std::string& graph, const StoredChoice& choice) const {
  const std::string bytes = encode(key(graph), choice);
  if (bytes.size() > limits_.entryBytes || choice.refused.size() > kMaxRefused)
    return Status::error(Code::kIo, "engine cache: an entry of " + std::to_string(bytes.size()) +
                                        " bytes is over the limit of " +
                                        std::to_string(limits_.entryBytes));
  RESNET_RETURN_IF_ERROR(makeFolder(folder_));
  std::string unfinished = folder_ + "/" + std::string(kUnfinished) + "XXXXXX";
  File file(::mkostemp(unfinished.data(), O_CLOEXEC));  // 0600
  if (file.get() < 0) return ioError("could not make a file in", folder_);
  Status status = writeAll(file.get(), bytes, unfinished);
  if (!file.close() && status.ok()) status = ioError("could not write", unfinished);
  const std::string target = path(graph);
  if (status.ok() && ::rename(unfinished.c_str(), target.c_str()) != 0)
    status = ioError("could not rename to", target);
  if (!status.ok()) {
    ::unlink(unfinished.c_str());
    return status;
  }
  makeRoom();
  return status;
}

void EngineCache::makeRoom() const {
  DIR* folder = ::opendir(folder_.c_str());
  if (folder == nullptr) return;
  std::vector<Entry> entries;
  uint64_t total = 0;
  const time_t now = ::time(nullptr);
  while (const dirent* item = ::readdir(folder)) {
    const std::string_view name = item->d_name;
    const std::string path = folder_ + "/" + item->d_name;
    struct stat status = {};
    const bool unfinished = name.starts_with(kUnfinished);
    if (!unfinished && !name.ends_with(kSuffix)) continue;  // not ours
    if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    // What a process left that died while it wrote.
    if (unfinished && status.st_mtime + 3600 < now) ::unlink(path.c_str());
    if (unfinished) continue;
    entries.push_back({path, static_cast<uint64_t>(status.st_size), status.st_mtim});
    total += entries.back().bytes;
  }
  ::closedir(folder);
  if (total <= limits_.totalBytes) return;
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return olderThan(a.used, b.used); });
  // Down to three quarters, so that not every store has to make room.
  const uint64_t wanted = limits_.totalBytes / 4 * 3;
  for (const Entry& entry : entries) {
    if (total <= wanted) break;
    ::unlink(entry.path.c_str());  // perhaps another process was faster
    total -= entry.bytes;
  }
}

}  // namespace resnet::cuda
