// Executes an operation graph as cudnn_frontend writes it, on host memory: dimensions, strides, data
// types, padding and order are taken from the graph alone, so that a graph that states something else
// than what is meant computes something else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/status.h"

namespace resnet::cuda::test {

struct GraphTensor {
  std::string name, type;  // "HALF", "BFLOAT16", "FLOAT"
  std::vector<int64_t> dim, stride;
  bool isVirtual = false;
  int64_t uid = 0;
};

struct GraphNode {
  std::string tag, mode, computeType;  // mode: math mode of CONV_FPROP, mode of POINTWISE
  std::map<std::string, std::string> inputs, outputs;  // port to tensor
  std::vector<int64_t> prePadding, postPadding, stride, dilation;
};

struct OperationGraph {
  std::map<std::string, GraphTensor> tensors;
  std::vector<GraphNode> nodes;  // in order
};

// kInvalidArgument for what the interpreter has no rule for.
Result<OperationGraph> parseGraph(const std::string& json);

struct Memory {
  std::byte* data = nullptr;
  size_t bytes = 0;
};

// `memory` by uid. kInvalidArgument: a tensor without memory or one that reaches beyond it; an operation
// whose shapes do not fit. Arithmetic in float32, rounded to each tensor's type when it is written.
Status interpret(const OperationGraph& graph, const std::map<int64_t, Memory>& memory);

// One element of a type, as the interpreter reads and writes it: IEEE, to nearest even.
float load(const std::string& type, const std::byte* at);
void store(const std::string& type, std::byte* at, float value);
size_t bytesOf(const std::string& type);

}  // namespace resnet::cuda::test
