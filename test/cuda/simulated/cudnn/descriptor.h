// Descriptors of the simulated cuDNN: attributes by name, as they were set, and what finalising made of them.
#pragma once

#include <cudnn_graph.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "test/cuda/simulated/cudnn/recipe.h"

namespace resnet::simulated {

struct Descriptor;
using DescriptorPointer = std::shared_ptr<Descriptor>;

struct Attribute {
  cudnnBackendAttributeType_t type = CUDNN_TYPE_INT64;
  int64_t count = 0;
  std::vector<uint8_t> bytes;
  std::vector<DescriptorPointer> descriptors;
};

// An engine configuration that the heuristics know.
struct Configuration {
  int64_t engine = 0;
  std::vector<std::pair<cudnnBackendKnobType_t, int64_t>> knobs;
  int64_t workspace = 0;
  bool runtimeCompiled = false, tensorCores = true, deterministic = true;
  enum Fault { kNone, kRefusesPlan, kRefusesRun } fault = kNone;
  double microseconds = 10;
  bool matmul = false;  // of matrix products, otherwise of convolutions
};
// In order of preference.
const std::vector<Configuration>& configurations();

struct Descriptor {
  explicit Descriptor(cudnnBackendDescriptorType_t kind) : type(kind) {}

  cudnnBackendDescriptorType_t type;
  bool finalized = false;
  std::map<int, Attribute> attributes;

  std::shared_ptr<const Recipe> recipe;          // of graphs, engines, plans
  const Configuration* configuration = nullptr;  // of engines, their configurations, plans
  std::vector<const Configuration*> heuristics;  // of heuristics

  bool has(int name) const { return attributes.count(name) != 0; }
  template <typename T>
  std::vector<T> list(int name) const {
    const auto found = attributes.find(name);
    if (found == attributes.end()) return {};
    const T* begin = reinterpret_cast<const T*>(found->second.bytes.data());
    return std::vector<T>(begin, begin + found->second.bytes.size() / sizeof(T));
  }
  template <typename T>
  T value(int name, T otherwise) const {
    const auto found = attributes.find(name);
    if (found == attributes.end() || found->second.bytes.size() < sizeof(T)) return otherwise;
    T value;
    std::memcpy(&value, found->second.bytes.data(), sizeof value);
    return value;
  }
  DescriptorPointer descriptor(int name, size_t index = 0) const {
    const auto found = attributes.find(name);
    if (found == attributes.end() || index >= found->second.descriptors.size()) return nullptr;
    return found->second.descriptors[index];
  }
};

size_t elementBytes(cudnnBackendAttributeType_t type);

// Sets `why` to a sentence when it fails.
cudnnStatus_t finalize(Descriptor& descriptor, std::string& why);
// Fills `recipe` from an operation graph's operations.
cudnnStatus_t parseGraph(const Descriptor& graph, Recipe& recipe, std::string& why);

std::string serialisePlan(const Recipe& recipe, const Configuration& configuration);
cudnnStatus_t deserialisePlan(const std::string& text, Descriptor& plan, std::string& why);

}  // namespace resnet::simulated
