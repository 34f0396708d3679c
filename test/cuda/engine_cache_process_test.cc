// The engine cache as its users meet it: networks compiled by processes of their own, one after another
// and at once, over a folder that is whole, damaged, of another version, or full. Each child of this
// program compiles one network on the simulated device, runs it, and says what it found.
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cuda/backend.h"
#include "test/cuda/backend_harness.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"

extern char** environ;

namespace {

using namespace resnet;
using namespace resnet::test;
namespace fs = std::filesystem;

// ---- the child ----

// Arguments: the folder, "float16", "float32" or "tf32". Prints a line "step: implementation" for every
// convolution, the pieces of device work that compiling took, and the outputs' bits.
int compileAndRun(const std::string& folder, const std::string& kind) {
  const Network net = smallNetwork(8, kind == "float16" ? DType::kFloat16 : DType::kFloat32);
  auto backend = cuda::makeCudaBackend({});
  if (!backend.ok()) return std::printf("%s\n", backend.status().message.c_str()), 1;
  CompileOptions options;
  options.engineCache = folder;
  if (kind == "tf32") options.precision = Float32Precision::kTf32;
  auto program = backend.value()->compile(net.plan, net.weights(), options, Control{});
  if (!program.ok()) return std::printf("%s\n", program.status().message.c_str()), 1;
  const uint64_t work = resnetSimulatedWorkCount();
  for (const ExplainRow& row : program.value()->explain())
    if (contains(row.implementation, "cudnn "))
      std::printf("%s: %s\n", row.step.c_str(), row.implementation.c_str());
  std::printf("work %llu\n", static_cast<unsigned long long>(work));
  auto lane = program.value()->createLane();
  Images images(net.plan, 1);
  const Status status = lane.ok() ? runOnce(*lane.value(), images.submission()) : lane.takeStatus();
  if (!status.ok()) return std::printf("%s\n", status.message.c_str()), 1;
  std::printf("bits");
  for (const float value : images.outputs[0]) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    std::printf(" %08x", bits);
  }
  std::printf("\n");
  return 0;
}

// ---- the parent ----

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "resnet-engines-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

  std::vector<fs::path> entries() const {
    std::vector<fs::path> files;
    for (const auto& item : fs::directory_iterator(path_)) files.push_back(item.path());
    std::sort(files.begin(), files.end());
    return files;
  }

 private:
  std::string path_;
};

struct Answered {
  int status = -1;
  std::string said, complaints;  // its standard output and error
  std::string bits;
  uint64_t work = 0;
  int raced = 0, cached = 0;  // convolutions whose engine was raced there, or earlier
};

// A process that was started; its answer is waited for once.
class Child {
 public:
  Child(const std::string& folder, const std::string& kind,
        const std::vector<std::string>& settings = {})
      : out_(files_.path() + "/out"), err_(files_.path() + "/err") {
    std::vector<std::string> arguments = {"/proc/self/exe", "--compile", folder, kind};
    std::vector<char*> argv, environment;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    std::vector<std::string> all = settings;
    for (char** entry = environ; *entry != nullptr; ++entry) all.emplace_back(*entry);
    for (std::string& entry : all) environment.push_back(entry.data());
    environment.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, out_.c_str(), O_CREAT | O_WRONLY, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err_.c_str(), O_CREAT | O_WRONLY, 0600);
    if (posix_spawn(&process_, argv[0], &actions, nullptr, argv.data(), environment.data()) != 0)
      process_ = -1;
    posix_spawn_file_actions_destroy(&actions);
  }

  Answered wait() {
    Answered answered;
    CHECK(process_ > 0 && waitpid(process_, &answered.status, 0) == process_);
    answered.said = read(out_);
    answered.complaints = read(err_);
    std::istringstream lines(answered.said);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("bits")) answered.bits = line;
      if (line.starts_with("work ")) answered.work = std::stoull(line.substr(5));
      answered.raced += contains(line, " in the race");
      answered.cached += contains(line, " in an earlier race");
    }
    CHECK_EQ(answered.status == 0 ? "" : answered.said + answered.complaints, std::string());
    CHECK_EQ(answered.complaints, std::string());
    return answered;
  }

 private:
  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  Folder files_;
  std::string out_, err_;
  pid_t process_ = -1;
};

Answered compileIn(const Folder& folder, const std::string& kind = "float16",
                   const std::vector<std::string>& settings = {}) {
  return Child(folder.path(), kind, settings).wait();
}

// What the small network chooses by a race: its convolutions and its classifier.
int engineCount() {
  static const int count = compileIn(Folder()).raced;
  CHECK(count >= 3);
  return count;
}

void checkCold(const Answered& answered) {
  CHECK_EQ(answered.raced, engineCount());
  CHECK_EQ(answered.cached, 0);
}
void checkWarm(const Answered& answered) {
  CHECK_EQ(answered.raced, 0);
  CHECK_EQ(answered.cached, engineCount());
}

std::string bytesOf(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

TEST("engine cache: the second process races nothing and computes the same bits") {
  const Folder folder;
  const Answered first = compileIn(folder);
  checkCold(first);
  CHECK_EQ(folder.entries().size(), size_t(engineCount()));
  const Answered second = compileIn(folder);
  checkWarm(second);
  CHECK_EQ(second.bits, first.bits);
  CHECK(first.bits.size() > 10 * 9);
  // A race runs every engine many times; what is left is uploading and packing the weights.
  std::printf("  pieces of device work: %llu raced, %llu from the cache\n",
              static_cast<unsigned long long>(first.work),
              static_cast<unsigned long long>(second.work));
  CHECK(second.work * 4 < first.work);
}

TEST("engine cache: damaged entries are as good as absent, and are written anew") {
  const Folder folder;
  const Answered first = compileIn(folder);
  const std::vector<fs::path> entries = folder.entries();
  const auto damaged = [](const std::string& how, std::string bytes) {
    if (how == "cut in half") bytes.resize(bytes.size() / 2);
    if (how == "empty") bytes.clear();
    if (how == "longer") bytes += "more";
    if (how == "a changed byte") bytes[bytes.size() / 2] = char(bytes[bytes.size() / 2] ^ 1);
    if (how == "another format") bytes[bytes.find('\n') - 1] = '0';
    if (how == "noise") std::fill(bytes.begin(), bytes.end(), 'x');
    return bytes;
  };
  for (const std::string how :
       {"cut in half", "empty", "longer", "a changed byte", "another format", "noise"}) {
    for (const fs::path& entry : entries) {
      const std::string whole = bytesOf(entry), broken = damaged(how, whole);
      CHECK(broken != whole);
      write(entry, broken);
    }
    const Answered again = compileIn(folder);
    if (again.raced != engineCount() || again.bits != first.bits)
      std::printf("  %s\n", how.c_str());
    checkCold(again);
    CHECK_EQ(again.bits, first.bits);
    checkWarm(compileIn(folder));
    CHECK(folder.entries() == entries);
  }
  // One bad entry costs one race.
  write(entries[0], "");
  const Answered one = compileIn(folder);
  CHECK_EQ(one.raced, 1);
  CHECK_EQ(one.cached, engineCount() - 1);
  CHECK_EQ(one.bits, first.bits);
}

TEST("engine cache: a folder in an entry's place, or one that cannot be written, costs only time") {
  const Folder folder;
  const Answered first = compileIn(folder);
  const std::vector<fs::path> entries = folder.entries();
  fs::remove(entries[0]);
  fs::create_directory(entries[0]);
  for (int i = 0; i < 2; ++i) {
    const Answered again = compileIn(folder);
    CHECK_EQ(again.raced, 1);
    CHECK_EQ(again.bits, first.bits);
  }
  const Folder other;
  write(other.path() + "/file", "");
  const Answered nowhere = Child(other.path() + "/file/engines", "float16").wait();
  checkCold(nowhere);
  CHECK_EQ(nowhere.bits, first.bits);
}

TEST("engine cache: another cuDNN or driver has entries of its own") {
  const Folder folder;
  const Answered first = compileIn(folder);
  int versions = 1;
  for (const char* setting : {"RESNET_SIMULATED_CUDNN=92300", "RESNET_SIMULATED_DRIVER=13010"}) {
    checkCold(compileIn(folder, "float16", {setting}));
    CHECK_EQ(folder.entries().size(), size_t(++versions * engineCount()));
    checkWarm(compileIn(folder, "float16", {setting}));
  }
  const Answered back = compileIn(folder);
  checkWarm(back);
  CHECK_EQ(back.bits, first.bits);
}

TEST("engine cache: another build of the driver has entries of its own, and the same one has not") {
  const Folder folder;
  const Answered first = compileIn(folder);
  checkCold(first);
  checkWarm(compileIn(folder, "float16", {"RESNET_SIMULATED_DRIVER_BUILD=580.95.05"}));
  CHECK_EQ(folder.entries().size(), size_t(engineCount()));
  int builds = 1;
  // The second cannot be asked by the management library: whatever is known of it then, it is not the first's.
  const std::string unasked = "RESNET_SIMULATED_NVML=" + std::to_string(kNvmlFails);
  for (const std::string& setting :
       {std::string("RESNET_SIMULATED_DRIVER_BUILD=580.95.06"), unasked}) {
    const Answered other = compileIn(folder, "float16", {setting});
    checkCold(other);
    CHECK_EQ(folder.entries().size(), size_t(++builds * engineCount()));
    checkWarm(compileIn(folder, "float16", {setting}));
  }
  checkWarm(compileIn(folder));
}

TEST("engine cache: float32 never takes what tf32 stored, nor the other way round") {
  const Folder alone, both;
  const Answered exact = compileIn(alone, "float32");
  const Answered rounded = compileIn(both, "tf32");
  CHECK(rounded.bits != exact.bits);  // else nothing is told apart here
  const Answered beside = compileIn(both, "float32");
  CHECK_EQ(beside.cached, 0);
  CHECK_EQ(beside.bits, exact.bits);
  CHECK_EQ(both.entries().size(), 2 * alone.entries().size());
  for (const auto& [kind, bits] :
       {std::pair<const char*, std::string>("tf32", rounded.bits), {"float32", exact.bits}}) {
    const Answered again = compileIn(both, kind);
    CHECK_EQ(again.raced, 0);
    CHECK_EQ(again.bits, bits);
  }
}

TEST("engine cache: the bound on its size holds, the oldest go first") {
  const Folder folder;
  constexpr uint64_t kLimit = uint64_t{256} << 20;  // EngineCache::Limits
  // 320 MiB of entries that nobody has used for days; without a block on the disk.
  for (int i = 0; i < 32; ++i) {
    const std::string path = folder.path() + "/" + std::to_string(100 + i) + ".engine";
    write(path, "");
    fs::resize_file(path, uint64_t{10} << 20);
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(100 - i));
  }
  checkCold(compileIn(folder));
  uint64_t total = 0;
  for (const fs::path& entry : folder.entries()) total += fs::file_size(entry);
  CHECK(total <= kLimit);
  CHECK(!fs::exists(folder.path() + "/100.engine"));
  CHECK(fs::exists(folder.path() + "/131.engine"));
  checkWarm(compileIn(folder));
}

TEST("engine cache: two processes at once over an empty folder") {
  for (int round = 0; round < 3; ++round) {
    const Folder folder;
    Child one(folder.path(), "float16"), two(folder.path(), "float16");
    const Answered first = one.wait(), second = two.wait();
    CHECK_EQ(first.raced + first.cached, engineCount());
    CHECK_EQ(second.raced + second.cached, engineCount());
    CHECK_EQ(folder.entries().size(), size_t(engineCount()));  // and nothing unfinished
    const Answered third = compileIn(folder);
    checkWarm(third);
    CHECK(third.bits == first.bits || third.bits == second.bits);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--compile") return compileAndRun(argv[2], argv[3]);
  return resnet::test::runCases(argc, argv);
}
