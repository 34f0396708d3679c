// Checkpoints as files and as bytes: each row breaks one thing and names the code and the message.
#include "core/checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "check.h"
#include "safetensors.h"

#if !defined(_WIN32)
#include <sys/stat.h>
#endif

namespace {

using namespace resnet;
using test::safetensors;
namespace fs = std::filesystem;

// A directory of its own, removed at the end.
class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "resnet-checkpoint-XXXXXX").string();
#if defined(_WIN32)
    fs::create_directories(pattern);
#else
    CHECK(::mkdtemp(pattern.data()) != nullptr);
#endif
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string path(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const std::vector<uint8_t>& bytes) const {
    std::ofstream(path(name), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
    return path(name);
  }
  std::string write(const std::string& name, const std::string& text) const {
    return write(name, std::vector<uint8_t>(text.begin(), text.end()));
  }

 private:
  fs::path path_;
};

std::vector<uint8_t> dataOf(size_t count) {
  std::vector<uint8_t> data(count);
  for (size_t i = 0; i < count; ++i) data[i] = uint8_t(i * 37 + 11);
  return data;
}

// A [2,3] float32, a [4] half, a [2] bfloat16, an empty one and a scalar int64.
const char* const kHeader = R"({"__metadata__":{"format":"pt","labels":"[\"a\"]"},)"
                            R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                            R"("half":{"dtype":"F16","shape":[4],"data_offsets":[24,32]},)"
                            R"("brain":{"dtype":"BF16","shape":[2],"data_offsets":[32,36]},)"
                            R"("none":{"dtype":"F32","shape":[0,7],"data_offsets":[36,36]},)"
                            R"("steps":{"dtype":"I64","shape":[],"data_offsets":[36,44]}}  )";
constexpr size_t kDataBytes = 44;

void checkContents(const Checkpoint& checkpoint) {
  const auto& entries = checkpoint.entries();
  CHECK_EQ(entries.size(), 5u);
  if (entries.size() != 5) return;
  CHECK(entries[0].name == "a" && entries[0].dtype == "F32" &&
        entries[0].shape == (std::vector<int64_t>{2, 3}));
  CHECK(entries[0].begin == 0 && entries[0].end == 24 && entries[4].name == "steps" &&
        entries[4].shape.empty());
  CHECK_EQ(checkpoint.metadata().size(), 2u);
  CHECK(checkpoint.metadata()[1].first == "labels" && checkpoint.metadata()[1].second == "[\"a\"]");

  const std::vector<uint8_t> data = dataOf(kDataBytes);
  float out[6];
  CHECK(checkpoint.readFloat32(entries[0], out).ok());
  CHECK(std::memcmp(out, data.data(), 24) == 0);
  CHECK(checkpoint.readFloat32(entries[1], out).ok());
  for (size_t i = 0; i < 4; ++i)
    CHECK_EQ(out[i], float16ToFloat32(uint16_t(data[24 + 2 * i] | data[25 + 2 * i] << 8)));
  CHECK(checkpoint.readFloat32(entries[2], out).ok());
  for (size_t i = 0; i < 2; ++i)
    CHECK_EQ(out[i], bfloat16ToFloat32(uint16_t(data[32 + 2 * i] | data[33 + 2 * i] << 8)));
  CHECK(checkpoint.readFloat32(entries[3], nullptr).ok());
  const Status refused = checkpoint.readFloat32(entries[4], out);
  CHECK(refused.code == Code::kUnsupported);
  CHECK_HAS(refused.message, "tensor \"steps\" must be F32, F16 or BF16 to be read, got I64");
}

TEST("checkpoint: bytes and a file read alike") {
  auto fromBytes = Checkpoint::openBytes(safetensors(kHeader, dataOf(kDataBytes)));
  CHECK_EQ(fromBytes.status().message, "");
  if (fromBytes.ok()) checkContents(*fromBytes.value());
  const Folder folder;
  auto fromFile = Checkpoint::openFile(
      folder.write("model.safetensors", safetensors(kHeader, dataOf(kDataBytes))));
  CHECK_EQ(fromFile.status().message, "");
  if (fromFile.ok()) checkContents(*fromFile.value());
}

TEST("checkpoint: a header without tensors") {
  CHECK(Checkpoint::openBytes(safetensors("{}", {})).ok());
  CHECK(Checkpoint::openBytes(safetensors(R"({"__metadata__":{}})", {})).ok());
}

TEST("checkpoint: every known dtype is listed") {
  for (const char* dtype : {"BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "I16", "U16",
                            "F16", "BF16", "I32", "U32", "F32", "F64", "I64", "U64", "C64"}) {
    const size_t bytes = std::strchr("BF8", dtype[0]) != nullptr && std::strstr(dtype, "8") ? 1
                         : std::strstr(dtype, "64")                                         ? 8
                         : std::strstr(dtype, "32")                                         ? 4
                         : std::strstr(dtype, "16")                                         ? 2
                                                                                            : 1;
    const std::string header = R"({"t":{"dtype":")" + std::string(dtype) +
                               R"(","shape":[3],"data_offsets":[0,)" + std::to_string(3 * bytes) +
                               "]}}";
    auto opened = Checkpoint::openBytes(safetensors(header, dataOf(3 * bytes)));
    CHECK_EQ(opened.status().message, "");
    if (!opened.ok()) continue;
    float out[3];
    const Status status = opened.value()->readFloat32(opened.value()->entries()[0], out);
    const bool readable =
        std::string(dtype) == "F32" || std::string(dtype) == "F16" || std::string(dtype) == "BF16";
    CHECK(readable ? status.ok() : status.code == Code::kUnsupported);
  }
}

// A header whose only tensor is given, and 8 bytes of data.
std::string one(const std::string& tensor) { return "{\"t\":" + tensor + "}"; }

TEST("checkpoint: every flaw of a header is corrupt and named") {
  struct Row {
    std::string header;
    const char* message;
  };
  for (
      const Row& row : {
          Row{"{\"t\":1}", "tensor \"t\": expected an object, got 1"},
          Row{"{}[", "header: JSON at byte 2"},
          Row{"{\"t\":{\"dtype\":\"F32\"", "header: JSON at byte 19"},
          Row{"{\"\x80\":1}", "expected UTF-8"},
          Row{one(R"({"shape":[2],"data_offsets":[0,8]})"), "dtype must be a string, got nothing"},
          Row{one(R"({"dtype":32,"shape":[2],"data_offsets":[0,8]})"),
              "dtype must be a string, got 32"},
          Row{one(R"({"dtype":"f32","shape":[2],"data_offsets":[0,8]})"), "unknown dtype \"f32\""},
          Row{one(R"({"dtype":"F4","shape":[16],"data_offsets":[0,8]})"), "unknown dtype \"F4\""},
          Row{one(R"({"dtype":"F32","data_offsets":[0,8]})"), "shape must be an array"},
          Row{one(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})"),
              "shape must be an array of integers of at least 0, got 2"},
          Row{one(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), "got [-2]"},
          Row{one(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"),
              "shape must be an array"},
          Row{one(R"({"dtype":"F32","shape":["2"],"data_offsets":[0,8]})"), "got [\"2\"]"},
          Row{one(R"({"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]})"),
              "shape must be an array"},
          Row{one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})"),
              "more bytes than 64 bits count"},
          Row{one(R"({"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]})"),
              "more bytes than 64 bits count"},
          Row{one(R"({"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]})"),
              "more bytes than 64 bits count"},
          Row{one(R"({"dtype":"F32","shape":[9223372036854775807,9223372036854775807,0],"data_offsets":[0,0]})"),
              "more bytes than 64 bits count"},
          Row{one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"),
              "F32 of shape [3] takes 12 bytes, but its data_offsets [0,8] hold 8"},
          Row{one(R"({"dtype":"F32","shape":[2]})"),
              "data_offsets must be [begin, end] with begin <= end, got nothing"},
          Row{one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})"), "data_offsets must be"},
          Row{one(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), "data_offsets must be"},
          Row{one(R"({"dtype":"F32","shape":[2],"data_offsets":[-8,0]})"), "data_offsets must be"},
          Row{one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"),
              "leaves a gap: begins at byte 4, expected 0"},
          Row{one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"),
              "too long: its tensors take 4 bytes after the header, but there are 8"},
          Row{one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,12]})"),
              "truncated: its tensors take 12 bytes after the header, but there are 8"},
          Row{one(R"({"dtype":"F32","shape":[2305843009213693951],"data_offsets":[0,9223372036854775804]})"),
              "truncated"},
          Row{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
              "duplicate key \"a\""},
          Row{R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
              "duplicate key \"dtype\""},
          Row{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
              "tensor \"b\": overlaps the tensor before it: begins at byte 4, expected 8"},
          Row{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
              "overlaps"},
          Row{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}})",
              "overlaps"},
          Row{R"({"__metadata__":[],"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
              "__metadata__ must be an object of strings, got []"},
          Row{R"({"__metadata__":{"n":1},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
              "__metadata__ must hold strings, got 1 for \"n\""},
      }) {
    const auto opened = Checkpoint::openBytes(safetensors(row.header, dataOf(8)));
    if (opened.ok()) {
      test::fault(__FILE__, __LINE__, "accepted: " + row.header);
      continue;
    }
    CHECK(opened.status().code == Code::kCorrupt);
    CHECK_HAS(opened.status().message, row.message);
    CHECK_HAS(opened.status().message, "the checkpoint in memory: ");
  }
}

TEST("checkpoint: truncated at every length") {
  const std::vector<uint8_t> whole = safetensors(kHeader, dataOf(kDataBytes));
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto opened = Checkpoint::openBytes({whole.begin(), whole.begin() + ptrdiff_t(length)});
    CHECK(!opened.ok() && opened.status().code == Code::kCorrupt);
    if (length > 8) CHECK_HAS(opened.status().message, "the file is truncated: ");
  }
  std::vector<uint8_t> longer = whole;
  longer.push_back(0);
  CHECK_HAS(Checkpoint::openBytes(longer).status().message, "the file is too long");
}

TEST("checkpoint: header lengths at their limits") {
  std::vector<uint8_t> bytes = safetensors(kHeader, dataOf(kDataBytes));
  const auto withLength = [&](uint64_t length) {
    for (size_t i = 0; i < 8; ++i) bytes[i] = uint8_t(length >> (8 * i));
    return Checkpoint::openBytes(bytes).status().message;
  };
  CHECK_HAS(withLength(100'000'001), "a header must have at most 100000000 bytes, got 100000001");
  CHECK_HAS(withLength(uint64_t{1} << 63), "at most 100000000 bytes, got 9223372036854775808");
  CHECK_HAS(withLength(100'000'000), "truncated: its header takes 100000000 bytes, but only");
  CHECK_HAS(withLength(bytes.size() - 7), "truncated");
  CHECK_HAS(withLength(0), "JSON at byte 0");
}

TEST("checkpoint: what is no safetensors file is explained") {
  const Folder folder;
  struct Row {
    const char* name;
    std::string bytes;
    Code code;
    const char* message;
  };
  const std::string zip("PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00", 12),
      pickle("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j", 11);
  for (const Row& row : {
           Row{"zero.safetensors", "", Code::kCorrupt, "is empty, expected a safetensors file"},
           Row{"short.safetensors", "abc", Code::kCorrupt,
               "is not a safetensors file but text starting with \"abc\""},
           Row{"text.safetensors", "these are {not} weights\n", Code::kCorrupt,
               "but text starting with \"these are {not} weights\\u000a\""},
           Row{"braces.safetensors", "12345678{\"a\":1}", Code::kCorrupt, "but text starting with"},
           Row{"page.safetensors", "<!DOCTYPE html><html>404</html>", Code::kCorrupt,
               "an HTML or XML page"},
           Row{"pointer.safetensors",
               "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", Code::kCorrupt,
               "a git LFS pointer to it; run 'git lfs pull'"},
           Row{"resnet18.pth", zip, Code::kUnsupported,
               "save_file(torch.load(\"resnet18.pth\", map_location=\"cpu\", weights_only=True), "
               "\"resnet18.safetensors\")"},
           Row{"old.bin", pickle, Code::kUnsupported, "torch.load(\"old.bin\""},
           Row{"quo\"te.pth", pickle, Code::kUnsupported, "torch.load(\"model.pth\""},
           Row{"random.safetensors", std::string("\x01\xff\x00\x10\x00\x00\x00\x00\x89xyz", 12),
               Code::kCorrupt, "got 12 bytes starting with 01 ff 00 10"},
       }) {
    const std::string path = folder.write(row.name, row.bytes);
    const auto opened = Checkpoint::openFile(path);
    CHECK(!opened.ok() && opened.status().code == row.code);
    CHECK_HAS(opened.status().message, row.message);
    CHECK_HAS(opened.status().message, "'" + path + "'");
  }
  // A header of 640 bytes begins as a pickle does (80 02), one of 60 as HTML does: both are checkpoints.
  for (size_t length : {size_t{0x0280}, size_t{'<'}}) {
    std::string header = "{}";
    header.resize(length, ' ');
    CHECK(Checkpoint::openBytes(safetensors(header, {})).ok());
  }
}

TEST("checkpoint: what is no regular file is an I/O error") {
  const Folder folder;
  const auto absent = Checkpoint::openFile(folder.path("absent.safetensors"));
  CHECK(!absent.ok() && absent.status().code == Code::kIo);
  CHECK_HAS(absent.status().message,
            "cannot open '" + folder.path("absent.safetensors") + "': No such file or directory");
  const auto directory = Checkpoint::openFile(folder.path(""));
  CHECK(!directory.ok() && directory.status().code == Code::kIo);
  CHECK_HAS(directory.status().message, "s a directory");
  const auto zero = Checkpoint::openFile(std::string("a\0b", 3));
  CHECK(!zero.ok() && zero.status().code == Code::kInvalidArgument);
#if !defined(_WIN32)
  CHECK(::mkfifo(folder.path("pipe").c_str(), 0600) == 0);
  const auto pipe = Checkpoint::openFile(folder.path("pipe"));
  CHECK(!pipe.ok() && pipe.status().code == Code::kIo);
  CHECK_HAS(pipe.status().message, "not a regular file");
#endif
}

TEST("checkpoint: a file that changes under the reader is corrupt, never a crash") {
  const Folder folder;
  const std::vector<uint8_t> whole = safetensors(kHeader, dataOf(kDataBytes));
  float out[6];
  const auto reopened = [&](const char* name) {
    auto opened = Checkpoint::openFile(folder.write(name, whole));
    CHECK(opened.ok() && opened.value()->readFloat32(opened.value()->entries()[0], out).ok());
    return opened;
  };
  const auto readAgain = [&](const Result<std::shared_ptr<const Checkpoint>>& opened) {
    const Status status = opened.value()->readFloat32(opened.value()->entries()[0], out);
    CHECK(status.code == Code::kCorrupt);
    CHECK_HAS(status.message, "has changed since it was opened");
  };
  auto truncated = reopened("truncated");
  fs::resize_file(folder.path("truncated"), whole.size() - 40);
  readAgain(truncated);
  auto grown = reopened("grown");
  fs::resize_file(folder.path("grown"), whole.size() + 1);
  readAgain(grown);
  auto touched = reopened("touched");
  fs::last_write_time(folder.path("touched"),
                      fs::file_time_type::clock::now() - std::chrono::hours(1));
  readAgain(touched);
#if !defined(_WIN32)
  // A new file under the old name does not concern the one held open.
  auto replaced = reopened("replaced");
  fs::rename(folder.write("other", std::string("x")), folder.path("replaced"));
  CHECK(replaced.value()->readFloat32(replaced.value()->entries()[0], out).ok());
#endif
}

TEST("checkpoint: halves beyond one chunk") {
  const size_t count = 300'001;
  const std::vector<uint8_t> data = dataOf(count * 2);
  const std::string header = R"({"h":{"dtype":"BF16","shape":[300001],"data_offsets":[0,600002]}})";
  auto opened = Checkpoint::openBytes(safetensors(header, data));
  CHECK(opened.ok());
  if (!opened.ok()) return;
  std::vector<float> out(count);
  CHECK(opened.value()->readFloat32(opened.value()->entries()[0], out.data()).ok());
  int wrong = 0;
  for (size_t i = 0; i < count; ++i) {
    const float expected = bfloat16ToFloat32(uint16_t(data[2 * i] | data[2 * i + 1] << 8));
    wrong += std::memcmp(&out[i], &expected, 4) != 0;
  }
  CHECK_EQ(wrong, 0);
}

TEST("checkpoint: a header that asks for more values than it may is refused") {
  std::string header = R"({"__metadata__":{},"t":{"dtype":"F32","shape":[0)";
  for (int i = 0; i < 2'000'000; ++i) header += ",0";
  header += R"(],"data_offsets":[0,0]}})";
  CHECK_HAS(Checkpoint::openBytes(safetensors(header, {})).status().message,
            "more than 2000000 values");
}

}  // namespace

int main(int argc, char** argv) { return test::runCases(argc, argv); }
