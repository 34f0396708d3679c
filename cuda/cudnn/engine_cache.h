// Chosen engines on disk, so that a second start neither races nor compiles. One file per choice,
// written beside its place and renamed into it: readers and writers of several processes never see
// half a file. Whatever is not exactly what was written is as good as absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"

namespace resnet::cuda {

// Everything outside the graph that an engine or its time depends on.
struct EngineEnvironment {
  size_t cudnn = 0;  // 92400
  int frontend = 0;  // 11800
  int capabilityMajor = 0, capabilityMinor = 0, multiprocessors = 0;
  std::string device;  // "NVIDIA H200": two cards of one capability and SM count differ in memory
  // The CUDA version that the driver is of and its build, "13000 580.95.05"; the version alone where no build can be read:
  // then drivers of one version share their entries, and an engine that another one refuses is removed.
  std::string driver;
  std::string kernels;  // digest of our own device code, which races against cuDNN's
};

struct StoredChoice {
  std::string name;                  // of the engine
  std::string engine;                // ConvolutionEngine::serialise()
  double milliseconds = 0;           // 0: unmeasured
  std::vector<std::string> refused;  // refused and beaten, for explain()

  bool operator==(const StoredChoice&) const = default;
};

class EngineCache {
 public:
  struct Limits {
    uint64_t totalBytes = uint64_t{256} << 20;  // of the folder; the least recently used go first
    uint64_t entryBytes = uint64_t{16} << 20;
  };

  // Nothing is read or made yet; the folder is made by the first store().
  EngineCache(std::string folder, const EngineEnvironment& environment);
  EngineCache(std::string folder, const EngineEnvironment& environment, Limits limits);

  // `graph`: any text that tells apart what must not be mixed up: the graph's JSON, dtypes, the
  // query. Nothing for absent, truncated, corrupted, foreign or other users' files.
  std::optional<StoredChoice> load(const std::string& graph) const;
  // kIo with the reason when it could not be written; the cache then simply stays without it.
  Status store(const std::string& graph, const StoredChoice& choice) const;
  // Of an entry that the device refused.
  void remove(const std::string& graph) const;

  // Where the entry for `graph` lies or would lie.
  std::string path(const std::string& graph) const;

 private:
  std::string key(const std::string& graph) const;
  void makeRoom() const;

  std::string folder_, environment_;
  Limits limits_;
};

}  // namespace resnet::cuda
