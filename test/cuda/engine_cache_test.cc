// The engine cache without a device: what was stored comes back, and nothing else ever does.
#include "cuda/cudnn/engine_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>

#include "test/native/check.h"

namespace resnet::cuda::test {
namespace {

// A folder of its own for each test, gone with it.
class Folder {
 public:
  Folder() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/resnet-engine-cache-XXXXXX";
    CHECK(::mkdtemp(path_.data()) != nullptr);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    for (const std::string& name : names()) ::unlink((path_ + "/" + name).c_str());
    ::rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    DIR* folder = ::opendir(path_.c_str());
    if (folder == nullptr) return names;
    while (const dirent* item = ::readdir(folder))
      if (item->d_name[0] != '.' || std::string(item->d_name).size() > 2)
        names.emplace_back(item->d_name);
    ::closedir(folder);
    return names;
  }

 private:
  std::string path_;
};

EngineEnvironment hopper() {
  return {92400, 11800, 9, 0, 132, "NVIDIA H100 80GB HBM3", "580.65.06", "d1ce"};
}

StoredChoice choiceOf(const std::string& seed, size_t bytes = 60) {
  StoredChoice choice;
  choice.name = "eng48_k2=5 " + seed;
  while (choice.engine.size() < bytes) choice.engine += seed + '\0' + "{\"json\": 1}\n";
  choice.engine.resize(bytes);
  choice.milliseconds = 0.1234;
  choice.refused = {"eng0: not deterministic", ""};
  return choice;
}

std::string readFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// In place: the file keeps its owner and its rights.
void overwrite(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), std::streamsize(bytes.size()));
}

bool loads(const EngineCache& cache, const std::string& graph, const StoredChoice& expected) {
  const std::optional<StoredChoice> found = cache.load(graph);
  return found.has_value() && *found == expected;
}

TEST("engine cache: what was stored is loaded, by another object too") {
  const Folder folder;
  const StoredChoice choice = choiceOf("a");
  CHECK(!EngineCache(folder.path(), hopper()).load("graph").has_value());
  CHECK(EngineCache(folder.path(), hopper()).store("graph", choice).ok());
  const EngineCache cache(folder.path(), hopper());
  CHECK(loads(cache, "graph", choice));
  CHECK(!cache.load("graph ").has_value());
  CHECK(cache.store("graph", choiceOf("b")).ok());  // replaces
  CHECK(loads(cache, "graph", choiceOf("b")));
  cache.remove("graph");
  CHECK(!cache.load("graph").has_value());
  CHECK_EQ(folder.names().size(), size_t{0});
}

TEST("engine cache: the folder is made with the first store, its parents too") {
  const Folder folder;
  const std::string deep = folder.path() + "/x/y";
  const EngineCache cache(deep, hopper());
  CHECK(!cache.load("graph").has_value());
  CHECK(::access(deep.c_str(), F_OK) != 0);
  CHECK(cache.store("graph", choiceOf("a")).ok());
  CHECK(loads(cache, "graph", choiceOf("a")));
  cache.remove("graph");
  ::rmdir(deep.c_str());
  ::rmdir((folder.path() + "/x").c_str());
}

TEST("engine cache: another value of any part of the environment finds nothing") {
  const Folder folder;
  CHECK(EngineCache(folder.path(), hopper()).store("graph", choiceOf("a")).ok());
  const std::vector<std::function<void(EngineEnvironment&)>> changes = {
      [](auto& e) { e.cudnn = 92300; },
      [](auto& e) { e.frontend = 11801; },
      [](auto& e) { e.capabilityMajor = 10; },
      [](auto& e) { e.capabilityMinor = 1; },
      [](auto& e) { e.multiprocessors = 114; },
      [](auto& e) { e.device = "NVIDIA H200"; },
      [](auto& e) { e.driver = "575.57.08"; },
      [](auto& e) { e.kernels = "d1cf"; },
      // The same characters, otherwise divided among the fields.
      [](auto& e) { e.driver += "d1ce", e.kernels = ""; },
  };
  for (const auto& change : changes) {
    EngineEnvironment other = hopper();
    change(other);
    const EngineCache cache(folder.path(), other);
    CHECK(!cache.load("graph").has_value());
    CHECK(cache.path("graph") != EngineCache(folder.path(), hopper()).path("graph"));
    // Not even under the other's name: the key is in the file.
    overwrite(cache.path("graph"), readFile(EngineCache(folder.path(), hopper()).path("graph")));
    ::chmod(cache.path("graph").c_str(), 0600);
    CHECK(!cache.load("graph").has_value());
    cache.remove("graph");
  }
  CHECK(loads(EngineCache(folder.path(), hopper()), "graph", choiceOf("a")));
}

TEST("engine cache: a file cut at any byte is absent, and the next store mends it") {
  const Folder folder;
  const EngineCache cache(folder.path(), hopper());
  const StoredChoice choice = choiceOf("a");
  CHECK(cache.store("graph", choice).ok());
  const std::string whole = readFile(cache.path("graph"));
  for (size_t size = 0; size < whole.size(); ++size) {
    overwrite(cache.path("graph"), whole.substr(0, size));
    if (cache.load("graph").has_value())
      resnet::test::fault(__FILE__, __LINE__, "cut to " + std::to_string(size) + " bytes it loads");
  }
  overwrite(cache.path("graph"), whole + '\0');
  CHECK(!cache.load("graph").has_value());
  CHECK(cache.store("graph", choice).ok());
  CHECK(loads(cache, "graph", choice));
  std::printf("  %zu cuts\n", whole.size() + 1);
}

TEST("engine cache: every changed byte, and random damage, is seen") {
  const Folder folder;
  const EngineCache cache(folder.path(), hopper());
  CHECK(cache.store("graph", choiceOf("a")).ok());
  const std::string whole = readFile(cache.path("graph"));
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
    overwrite(cache.path("graph"), damaged);
    if (cache.load("graph").has_value())
      resnet::test::fault(__FILE__, __LINE__,
                          "with byte " + std::to_string(i) + " changed it loads");
  }
  std::mt19937 random(20260731);
  for (int round = 0; round < 2000; ++round) {
    std::string damaged = whole;
    const size_t from = random() % damaged.size();
    const size_t count = std::min<size_t>(1 + random() % 64, damaged.size() - from);
    if (round % 2 == 0)
      for (size_t i = 0; i < count; ++i) damaged[from + i] = static_cast<char>(random());
    else
      damaged.erase(from, count);
    overwrite(cache.path("graph"), damaged);
    if (damaged != whole && cache.load("graph").has_value())
      resnet::test::fault(__FILE__, __LINE__,
                          "damage of round " + std::to_string(round) + " loads");
  }
  overwrite(cache.path("graph"), whole);  // the control: it was the damage
  CHECK(loads(cache, "graph", choiceOf("a")));
}

TEST("engine cache: a length that lies does not make it allocate") {
  const Folder folder;
  const EngineCache cache(folder.path(), hopper(), {1 << 20, 4096});
  CHECK(cache.store("graph", choiceOf("a")).ok());
  overwrite(cache.path("graph"), readFile(cache.path("graph")) + std::string(4096, 'x'));
  CHECK(!cache.load("graph").has_value());  // over the limit of an entry: not even read
  const Status status = cache.store("graph", choiceOf("a", 5000));
  CHECK_EQ(std::string(codeName(status.code)), "ERR_RESNET_IO");
  CHECK_HAS(status.message, "over the limit of 4096");
}

TEST("engine cache: files that others could have written, links and folders are not read") {
  const Folder folder;
  const EngineCache cache(folder.path(), hopper());
  CHECK(cache.store("graph", choiceOf("a")).ok());
  const std::string path = cache.path("graph");
  CHECK_EQ(::chmod(path.c_str(), 0622), 0);
  CHECK(!cache.load("graph").has_value());
  CHECK_EQ(::chmod(path.c_str(), 0644), 0);
  CHECK(loads(cache, "graph", choiceOf("a")));
  const std::string elsewhere = folder.path() + "/elsewhere";
  CHECK_EQ(::rename(path.c_str(), elsewhere.c_str()), 0);
  CHECK_EQ(::symlink(elsewhere.c_str(), path.c_str()), 0);
  CHECK(!cache.load("graph").has_value());
  CHECK_EQ(::unlink(path.c_str()), 0);
  CHECK_EQ(::mkdir(path.c_str(), 0700), 0);
  CHECK(!cache.load("graph").has_value());
  const Status status = cache.store("graph", choiceOf("a"));
  CHECK_HAS(status.message, "could not rename");
  CHECK_EQ(::rmdir(path.c_str()), 0);
  CHECK_EQ(folder.names().size(), size_t{1});  // nothing unfinished is left
  CHECK_EQ(::mkfifo(path.c_str(), 0600), 0);   // must not wait for a writer
  CHECK(!cache.load("graph").has_value());
}

TEST("engine cache: a folder that cannot be written is an error with its reason, no more") {
  const Folder folder;
  const std::string file = folder.path() + "/file";
  overwrite(file, "in the way");
  const EngineCache cache(file, hopper());
  CHECK(!cache.load("graph").has_value());
  const Status status = cache.store("graph", choiceOf("a"));
  CHECK_EQ(std::string(codeName(status.code)), "ERR_RESNET_IO");
  CHECK_HAS(status.message, file);
}

TEST("engine cache: the least recently used make room, foreign files stay") {
  const Folder folder;
  const EngineCache cache(folder.path(), hopper(), {20000, 4096});
  overwrite(folder.path() + "/notes.txt", std::string(50000, 'n'));
  const auto graph = [](int i) { return "graph " + std::to_string(i); };
  const auto age = [&](int i, time_t seconds) {
    const timespec times[2] = {{seconds, 0}, {seconds, 0}};
    CHECK_EQ(::utimensat(AT_FDCWD, cache.path(graph(i)).c_str(), times, 0), 0);
  };
  for (int i = 0; i < 9; ++i) {
    CHECK(cache.store(graph(i), choiceOf(std::to_string(i), 2000)).ok());
    age(i, 1000 + i);
  }
  for (int i = 0; i < 9; ++i) CHECK_EQ(::access(cache.path(graph(i)).c_str(), F_OK), 0);
  CHECK(loads(cache, graph(0), choiceOf("0", 2000)));  // used: now the youngest
  CHECK(cache.store(graph(9), choiceOf("9", 2000)).ok());
  CHECK(loads(cache, graph(0), choiceOf("0", 2000)));
  CHECK(!cache.load(graph(1)).has_value());
  CHECK(loads(cache, graph(8), choiceOf("8", 2000)));
  CHECK(loads(cache, graph(9), choiceOf("9", 2000)));
  uint64_t total = 0;
  for (const std::string& name : folder.names())
    if (name.ends_with(".engine")) total += readFile(folder.path() + "/" + name).size();
  CHECK(total <= 15000);
  CHECK_EQ(readFile(folder.path() + "/notes.txt").size(), size_t{50000});
}

TEST("engine cache: what a process left that died while it wrote is cleared away") {
  const Folder folder;
  const EngineCache cache(folder.path(), hopper());
  const std::string old = folder.path() + "/.unfinished-aaaaaa";
  const std::string fresh = folder.path() + "/.unfinished-bbbbbb";
  overwrite(old, "half");
  overwrite(fresh, "half");
  const timespec longAgo[2] = {{1000, 0}, {1000, 0}};
  CHECK_EQ(::utimensat(AT_FDCWD, old.c_str(), longAgo, 0), 0);
  CHECK(cache.store("graph", choiceOf("a")).ok());
  CHECK(::access(old.c_str(), F_OK) != 0);
  CHECK_EQ(::access(fresh.c_str(), F_OK), 0);  // perhaps still being written
}

// Writers and readers in processes of their own over a cache too small for all: a reader sees a whole
// choice of the graph it asked for, or none.
TEST("engine cache: several processes at once") {
  const Folder folder;
  constexpr int kProcesses = 6, kRounds = 300, kGraphs = 5;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t child = ::fork();
    CHECK(child >= 0);
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    const EngineCache cache(folder.path(), hopper(), {24000, 8192});
    std::mt19937 random(static_cast<unsigned>(p));
    int wrong = 0, hits = 0;
    for (int round = 0; round < kRounds; ++round) {
      const std::string graph = "graph " + std::to_string(random() % kGraphs);
      const size_t bytes = 1000 + random() % 5000;
      if (random() % 2 == 0) {
        wrong += !cache.store(graph, choiceOf(graph, bytes)).ok();
      } else if (const std::optional<StoredChoice> found = cache.load(graph)) {
        ++hits;
        wrong += *found != choiceOf(graph, found->engine.size());
      }
    }
    ::_exit(wrong > 0 ? 1 : hits == 0 ? 2 : 0);
  }
  for (const pid_t child : children) {
    int status = 0;
    CHECK_EQ(::waitpid(child, &status, 0), child);
    CHECK_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
  }
  for (const std::string& name : folder.names()) CHECK(name.ends_with(".engine"));
}

}  // namespace
}  // namespace resnet::cuda::test

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
