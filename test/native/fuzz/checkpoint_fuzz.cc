// Mutants of small checkpoints, opened as bytes and at times as files: each is refused with a code and a
// message, or all its tensors are read, exactly within the file and exactly into their buffers.
#include "core/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/shape.h"
#include "fuzz/mutate.h"
#include "safetensors.h"

namespace {

using namespace resnet;
using fuzz::demand;
using fuzz::Random;

struct Seed {
  const char* header;
  size_t dataBytes;
};

const Seed kSeeds[] = {
    {"{}", 0},
    {R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24},
    {R"({"__metadata__":{"format":"pt","k":"\u00e9\n"},"fc.weight":{"dtype":"F16","shape":[5,2],"data_offsets":[0,20]},)"
     R"("fc.bias":{"dtype":"BF16","shape":[5],"data_offsets":[20,30]}}   )",
     30},
    {R"({"conv1.weight":{"dtype":"F32","shape":[2,1,3,3],"data_offsets":[8,80]},)"
     R"("bn1.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
     R"("none":{"dtype":"F64","shape":[0,9],"data_offsets":[80,80]},"b":{"dtype":"BOOL","shape":[3],"data_offsets":[80,83]},)"
     R"("f8":{"dtype":"F8_E4M3","shape":[1,1,5],"data_offsets":[83,88]}})",
     88},
};

const uint64_t kLengths[] = {0,
                             1,
                             2,
                             7,
                             8,
                             100'000'000,
                             100'000'001,
                             uint64_t{1} << 31,
                             uint64_t{1} << 32,
                             uint64_t{1} << 62,
                             uint64_t{1} << 63,
                             UINT64_MAX - 8,
                             UINT64_MAX - 7,
                             UINT64_MAX};

std::vector<uint8_t> mutant(Random& random) {
  const Seed& seed = random.pick(kSeeds);
  std::string header = seed.header;
  for (size_t n = random.below(4); n > 0; --n) fuzz::mutateJson(&header, random);
  std::vector<uint8_t> data(seed.dataBytes);
  for (uint8_t& byte : data) byte = uint8_t(random.next());
  if (random.oneIn(8)) data.resize(random.below(data.size() + 9));
  std::vector<uint8_t> file = test::safetensors(header, data);
  if (random.oneIn(12)) {
    const uint64_t length =
        random.oneIn(2) ? random.pick(kLengths) : header.size() + random.below(17) - 8;
    for (size_t i = 0; i < 8; ++i) file[i] = uint8_t(length >> (8 * i));
  }
  if (random.oneIn(16)) file.resize(random.below(file.size() + 1));
  if (random.oneIn(16) && !file.empty()) file[random.below(file.size())] = uint8_t(random.next());
  return file;
}

void checkRefusal(const Status& status) {
  demand(status.code == Code::kCorrupt || status.code == Code::kUnsupported,
         "a refusal has another code:", status.message);
  demand(!status.message.empty() && status.message.size() < 2000,
         "a refusal without a proper message:", status.message);
}

// Everything that a caller relies on, and every tensor read into a buffer of its very size.
void checkAccepted(const Checkpoint& checkpoint, uint64_t fileBytes) {
  std::vector<std::string> names;
  uint64_t total = 0;
  for (const Checkpoint::Entry& entry : checkpoint.entries()) {
    names.push_back(entry.name);
    demand(entry.begin <= entry.end && entry.end <= fileBytes,
           "a tensor outside the file:", entry.name);
    total += entry.end - entry.begin;
    const auto count = elementCount(entry.shape);
    demand(count && *count <= entry.end - entry.begin,
           "a tensor larger than its bytes:", entry.name);
    const bool single = entry.dtype == "F32",
               readable = single || entry.dtype == "F16" || entry.dtype == "BF16";
    if (readable)
      demand(*count * (single ? 4 : 2) == entry.end - entry.begin,
             "a tensor of another size:", entry.name);
    std::vector<float> out(readable ? size_t(*count) : 0);
    const Status status = checkpoint.readFloat32(entry, out.data());
    demand(readable ? status.ok() : status.code == Code::kUnsupported, "reading:", status.message);
  }
  demand(total < fileBytes, "tensors share bytes");
  std::sort(names.begin(), names.end());
  demand(std::adjacent_find(names.begin(), names.end()) == names.end(), "a name twice");
}

const std::string& temporaryFile() {
  static const std::string path =
      (std::filesystem::temp_directory_path() /
       ("resnet-checkpoint-fuzz-" +
        std::to_string(reinterpret_cast<uintptr_t>(&kSeeds) ^ uintptr_t(std::rand())) + "-" +
        std::to_string(fuzz::running.seed) + ".safetensors"))
          .string();
  return path;
}

// The same by a file, which half of the time loses its end between opening and reading.
void runFile(const std::vector<uint8_t>& bytes, bool acceptedAsBytes, Random& random) {
  std::ofstream(temporaryFile(), std::ios::binary | std::ios::trunc)
      .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  const auto opened = Checkpoint::openFile(temporaryFile());
  demand(opened.ok() == acceptedAsBytes, "file and bytes differ:", opened.status().message);
  if (!opened.ok()) return checkRefusal(opened.status());
  if (random.oneIn(2)) return checkAccepted(*opened.value(), bytes.size());
  std::filesystem::resize_file(temporaryFile(), random.below(bytes.size()));
  for (const Checkpoint::Entry& entry : opened.value()->entries()) {
    std::vector<float> out(size_t(entry.end - entry.begin));
    const Status status = opened.value()->readFloat32(entry, out.data());
    const bool halves = entry.dtype == "F16" || entry.dtype == "BF16";
    const bool empty = halves && entry.begin == entry.end;  // nothing to read, nothing to notice
    demand(empty || !status.ok(), "a truncated file was read:", entry.name);
    if (!status.ok()) checkRefusal(status);
  }
}

bool run(Random& random) {
  const std::vector<uint8_t> bytes = mutant(random);
  const auto opened = Checkpoint::openBytes(bytes);
  if (opened.ok())
    checkAccepted(*opened.value(), bytes.size());
  else
    checkRefusal(opened.status());
  if (random.oneIn(64)) runFile(bytes, opened.ok(), random);
  return opened.ok();
}

}  // namespace

int main(int argc, char** argv) {
  const int status = fuzz::runAll(argc, argv, run);
  std::error_code ignored;
  std::filesystem::remove(temporaryFile(), ignored);
  return status;
}
