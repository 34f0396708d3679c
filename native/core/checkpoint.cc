// The .safetensors format: 8 bytes N (little endian), N bytes of JSON { name: { dtype, shape,
// data_offsets: [begin, end] }, "__metadata__"?: { string: string } }, then the data, dense.
// Source: the format's own reader, huggingface/safetensors, whose checks these are.
#include "core/checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "core/json.h"
#include "core/random_access_file.h"
#include "core/shape.h"

namespace resnet {

namespace {

using json::Value;

constexpr uint64_t kLengthBytes = 8;
constexpr size_t kSniffBytes = 512;

// --- where the bytes come from

class Source {
 public:
  virtual ~Source() = default;
  virtual uint64_t size() const = 0;
  virtual Status read(uint64_t offset, void* destination, size_t count) const = 0;
};

class FileSource final : public Source {
 public:
  explicit FileSource(std::unique_ptr<const RandomAccessFile> file) : file_(std::move(file)) {}
  uint64_t size() const override { return file_->size(); }
  Status read(uint64_t offset, void* destination, size_t count) const override {
    return file_->read(offset, destination, count);
  }

 private:
  const std::unique_ptr<const RandomAccessFile> file_;
};

class BytesSource final : public Source {
 public:
  explicit BytesSource(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }
  Status read(uint64_t offset, void* destination, size_t count) const override {
    if (offset > bytes_.size() || count > bytes_.size() - offset)
      return Status::error(Code::kInternal, "a read beyond the checkpoint in memory");
    if (count > 0) std::memcpy(destination, bytes_.data() + offset, count);
    return Status::okay();
  }

 private:
  const std::vector<uint8_t> bytes_;
};

// --- what a file is that is not safetensors

std::string hexText(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    char hex[4];
    std::snprintf(hex, sizeof hex, "%02x", unsigned(uint8_t(c)));
    if (!text.empty()) text += ' ';
    text += hex;
  }
  return text;
}

// A file's name that can stand between quotes in Python, without its ending.
std::string stemFor(std::string_view path) {
  const size_t slash = path.find_last_of("/\\");
  std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  name = name.substr(0, name.find_last_of('.'));
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return uint8_t(c) > 0x20 && c != '"' && c != 0x7F;
  });
  return plain ? std::string(name) : "model";
}

std::string conversion(std::string_view path) {
  const std::string stem = stemFor(path);
  const size_t dot = path.find_last_of('.');
  const std::string_view ending = dot == std::string_view::npos ? "" : path.substr(dot);
  const std::string from =
      stem +
      (ending == ".pt" || ending == ".bin" || ending == ".ckpt" ? std::string(ending) : ".pth");
  return "\n  import torch; from safetensors.torch import save_file"
         "\n  save_file(torch.load(\"" +
         from + "\", map_location=\"cpu\", weights_only=True), \"" + stem + ".safetensors\")";
}

bool looksLikeText(std::string_view head) {
  return std::all_of(head.begin(), head.end(), [](char c) {
    return uint8_t(c) >= 0x20 ? c != 0x7F : c == '\n' || c == '\r' || c == '\t';
  });
}

// Called only when the start is not that of a safetensors file: a valid one may begin with any of
// these bytes, since they count its header.
Status explainForeign(std::string_view head, uint64_t size, const std::string& path,
                      const std::string& what) {
  const std::string expected = " is not a safetensors file";
  if (head.empty())
    return Status::error(Code::kCorrupt, what + " is empty, expected a safetensors file");
  if (head.substr(0, 2) == "PK" ||
      (head.size() >= 2 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5))
    return Status::error(
        Code::kUnsupported,
        what +
            " is a PyTorch pickle, which is not read because unpickling can run any "
            "code; convert it once, in Python:" +
            conversion(path));
  if (head[0] == '<')
    return Status::error(Code::kCorrupt, what + expected +
                                             " but an HTML or XML page: the download got a web "
                                             "page instead of the file; download it again");
  if (head.substr(0, 24) == "version https://git-lfs.")
    return Status::error(Code::kCorrupt, what + expected +
                                             " but a git LFS pointer to it; run 'git lfs pull' "
                                             "where it was cloned");
  const std::string wanted =
      ": expected 8 bytes that count the header's bytes, then the header, a JSON object";
  if (looksLikeText(head))
    return Status::error(Code::kCorrupt, what + expected + " but text starting with " +
                                             json::quote(head.substr(0, 24)) + wanted);
  return Status::error(Code::kCorrupt, what + expected + wanted + "; got " + std::to_string(size) +
                                           " bytes starting with " + hexText(head.substr(0, 16)));
}

// --- the header

struct Header {
  std::vector<Checkpoint::Entry> entries;
  std::vector<std::pair<std::string, std::string>> metadata;
};

// Bytes of one element, 0 for a word that is not the format's or whose elements are parts of a
// byte.
uint64_t elementBytes(std::string_view dtype) {
  static constexpr std::pair<const char*, uint64_t> kWords[] = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"F8_E8M0", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},     {"U32", 4},
      {"F32", 4},  {"F64", 8}, {"I64", 8}, {"U64", 8},     {"C64", 8}};
  for (const auto& [word, bytes] : kWords)
    if (dtype == word) return bytes;
  return 0;
}

class HeaderReader {
 public:
  HeaderReader(std::string what, uint64_t dataBytes)
      : what_(std::move(what)), dataBytes_(dataBytes) {}

  Result<Header> read(const Value& root) {
    for (const auto& [name, value] : root.object) {
      if (name == "__metadata__")
        RESNET_RETURN_IF_ERROR(readMetadata(value));
      else
        RESNET_RETURN_IF_ERROR(readEntry(name, value));
    }
    RESNET_RETURN_IF_ERROR(checkCover());
    return std::move(header_);
  }

 private:
  Status corrupt(const std::string& message) const {
    return Status::error(Code::kCorrupt, what_ + ": " + message);
  }
  Status tensorFault(const std::string& name, const std::string& message) const {
    return corrupt("tensor " + json::quote(name) + ": " + message);
  }

  Status readMetadata(const Value& value) {
    if (!value.is(Value::Kind::kObject))
      return corrupt("__metadata__ must be an object of strings, got " + json::describe(value));
    for (const auto& [key, text] : value.object) {
      if (!text.is(Value::Kind::kString))
        return corrupt("__metadata__ must hold strings, got " + json::describe(text) + " for " +
                       json::quote(key));
      header_.metadata.emplace_back(key, text.string);
    }
    return Status::okay();
  }

  Status readEntry(const std::string& name, const Value& value) {
    if (!value.is(Value::Kind::kObject))
      return tensorFault(name, "expected an object, got " + json::describe(value));
    Checkpoint::Entry entry;
    entry.name = name;
    const Value* dtype = value.find("dtype");
    if (dtype == nullptr || !dtype->is(Value::Kind::kString))
      return tensorFault(name, "dtype must be a string, got " + text(dtype));
    entry.dtype = dtype->string;
    const uint64_t itemBytes = elementBytes(entry.dtype);
    if (itemBytes == 0) return tensorFault(name, "unknown dtype " + json::quote(entry.dtype));

    const Value* shape = value.find("shape");
    if (!readNaturals(shape, &entry.shape))
      return tensorFault(name,
                         "shape must be an array of integers of at least 0, got " + text(shape));
    std::vector<int64_t> offsets;
    const Value* dataOffsets = value.find("data_offsets");
    if (!readNaturals(dataOffsets, &offsets) || offsets.size() != 2 || offsets[0] > offsets[1])
      return tensorFault(
          name, "data_offsets must be [begin, end] with begin <= end, got " + text(dataOffsets));
    entry.begin = uint64_t(offsets[0]);
    entry.end = uint64_t(offsets[1]);

    const auto elements = elementCount(entry.shape);
    if (!elements || *elements > UINT64_MAX / itemBytes)
      return tensorFault(name,
                         "shape " + shapeText(entry.shape) + " has more bytes than 64 bits count");
    if (*elements * itemBytes != entry.end - entry.begin)
      return tensorFault(name, entry.dtype + " of shape " + shapeText(entry.shape) + " takes " +
                                   std::to_string(*elements * itemBytes) +
                                   " bytes, but its data_offsets " + text(dataOffsets) + " hold " +
                                   std::to_string(entry.end - entry.begin));
    header_.entries.push_back(std::move(entry));
    return Status::okay();
  }

  static std::string text(const Value* value) {
    return value == nullptr ? "nothing" : json::describe(*value);
  }
  static bool readNaturals(const Value* value, std::vector<int64_t>* out) {
    if (value == nullptr || !value->is(Value::Kind::kArray)) return false;
    for (const Value& item : value->array) {
      if (!item.isInteger || item.integer < 0) return false;
      out->push_back(item.integer);
    }
    return true;
  }

  // The tensors must cover the data exactly: no overlap, no gap, nothing before, nothing behind.
  Status checkCover() const {
    std::vector<const Checkpoint::Entry*> order;
    for (const Checkpoint::Entry& entry : header_.entries) order.push_back(&entry);
    std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
      return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
    });
    const uint64_t end = order.empty() ? 0 : order.back()->end;
    uint64_t at = 0;
    for (const Checkpoint::Entry* entry : order) {
      if (entry->begin != at)
        return tensorFault(entry->name,
                           std::string(entry->begin < at ? "overlaps the tensor before it: begins"
                                                         : "leaves a gap: begins") +
                               " at byte " + std::to_string(entry->begin) + ", expected " +
                               std::to_string(at));
      at = entry->end;
    }
    if (end > dataBytes_)
      return corrupt("the file is truncated: its tensors take " + std::to_string(end) +
                     " bytes after the header, but there are " + std::to_string(dataBytes_));
    if (end < dataBytes_)
      return corrupt("the file is too long: its tensors take " + std::to_string(end) +
                     " bytes after the header, but there are " + std::to_string(dataBytes_));
    return Status::okay();
  }

  const std::string what_;
  const uint64_t dataBytes_;
  Header header_;
};

// --- the checkpoint

class SafetensorsCheckpoint final : public Checkpoint {
 public:
  SafetensorsCheckpoint(std::unique_ptr<const Source> source, Header header, uint64_t dataStart)
      : source_(std::move(source)), header_(std::move(header)), dataStart_(dataStart) {}

  const std::vector<Entry>& entries() const override { return header_.entries; }
  const std::vector<std::pair<std::string, std::string>>& metadata() const override {
    return header_.metadata;
  }

  Status readFloat32(const Entry& entry, float* destination) const override {
    if (entry.dtype == "F32")
      return source_->read(dataStart_ + entry.begin, destination, size_t(entry.end - entry.begin));
    if (entry.dtype == "F16") return readHalves(entry, DType::kFloat16, destination);
    if (entry.dtype == "BF16") return readHalves(entry, DType::kBFloat16, destination);
    return Status::error(Code::kUnsupported, "tensor " + json::quote(entry.name) +
                                                 " must be F32, F16 or BF16 to be read, got " +
                                                 entry.dtype);
  }

 private:
  Status readHalves(const Entry& entry, DType dtype, float* destination) const {
    constexpr size_t kChunk = size_t{1} << 17;  // elements: 256 KB stay in the second-level cache
    size_t count = size_t(entry.end - entry.begin) / 2;
    std::vector<uint16_t> chunk(std::min(count, kChunk));
    for (uint64_t at = dataStart_ + entry.begin; count > 0;) {
      const size_t part = std::min(count, kChunk);
      RESNET_RETURN_IF_ERROR(source_->read(at, chunk.data(), part * 2));
      convertToFloat32(dtype, chunk.data(), part, destination);
      destination += part;
      at += part * 2;
      count -= part;
    }
    return Status::okay();
  }

  const std::unique_ptr<const Source> source_;
  const Header header_;
  const uint64_t dataStart_;
};

// `path` is empty for bytes.
Result<std::shared_ptr<const Checkpoint>> openSource(std::unique_ptr<const Source> source,
                                                     const std::string& path) {
  std::string what = "the checkpoint in memory";
  if (!path.empty()) {
    what = "'";
    what += path;
    what += '\'';
  }
  const uint64_t size = source->size();
  std::string head(size_t(std::min<uint64_t>(size, kSniffBytes)), '\0');
  RESNET_RETURN_IF_ERROR(source->read(0, head.data(), head.size()));
  // Eight characters of text would count a header of 10^17 bytes or more.
  if (size <= kLengthBytes || head[kLengthBytes] != '{' ||
      looksLikeText(head.substr(0, kLengthBytes)))
    return explainForeign(head, size, path, what);

  uint64_t headerBytes = 0;
  std::memcpy(&headerBytes, head.data(), sizeof headerBytes);
  if (headerBytes > Checkpoint::kMaxHeaderBytes)
    return Status::error(Code::kCorrupt, what + ": a header must have at most " +
                                             std::to_string(Checkpoint::kMaxHeaderBytes) +
                                             " bytes, got " + std::to_string(headerBytes));
  if (headerBytes > size - kLengthBytes)
    return Status::error(Code::kCorrupt, what + ": the file is truncated: its header takes " +
                                             std::to_string(headerBytes) + " bytes, but only " +
                                             std::to_string(size - kLengthBytes) +
                                             " follow its length");
  std::string text(size_t(headerBytes), '\0');
  RESNET_RETURN_IF_ERROR(source->read(kLengthBytes, text.data(), text.size()));
  Result<Value> root = json::parse(text);
  if (!root.ok()) return Status::error(Code::kCorrupt, what + ": header: " + root.status().message);
  if (!root.value().is(Value::Kind::kObject))
    return Status::error(Code::kCorrupt, what + ": the header must be a JSON object");
  const uint64_t dataStart = kLengthBytes + headerBytes;
  Result<Header> header = HeaderReader(what, size - dataStart).read(root.value());
  if (!header.ok()) return header.takeStatus();
  return std::shared_ptr<const Checkpoint>(
      std::make_shared<SafetensorsCheckpoint>(std::move(source), header.take(), dataStart));
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> Checkpoint::openFile(const std::string& path) {
  auto file = RandomAccessFile::open(path);
  if (!file.ok()) return file.takeStatus();
  return openSource(std::make_unique<FileSource>(file.take()), path);
}

Result<std::shared_ptr<const Checkpoint>> Checkpoint::openBytes(std::vector<uint8_t> bytes) {
  return openSource(std::make_unique<BytesSource>(std::move(bytes)), {});
}

}  // namespace resnet
