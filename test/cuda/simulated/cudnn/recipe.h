// One operation graph that the simulated cuDNN can run: conv or matmul, then additions and relus, each from float32.
#pragma once

#include <cudnn_graph.h>

#include <cstdint>
#include <string>
#include <vector>

namespace resnet::simulated {

struct TensorShape {
  int64_t uid = 0, alignment = 16;
  cudnnDataType_t type = CUDNN_DATA_FLOAT;
  bool isVirtual = false;
  std::vector<int64_t> dims, strides;  // N C H W; of weights K C/groups R S

  int64_t elements() const;  // from the first to the last, gaps included
  int64_t bytes() const;
};

int64_t typeBytes(cudnnDataType_t type);  // 0: one that is not simulated

struct EpilogueStage {
  bool relu = false;                              // otherwise an addition
  TensorShape operand;                            // of an addition
  cudnnDataType_t resultType = CUDNN_DATA_FLOAT;  // what a virtual tensor in between is rounded to
};

struct Recipe {
  TensorShape x, w, y;
  int64_t stride[2] = {1, 1}, dilation[2] = {1, 1}, before[2] = {0, 0}, after[2] = {0, 0};
  bool matmul = false;   // a matrix product, as a 1x1 convolution
  bool flipped = false;  // convolution in earnest instead of cross-correlation
  cudnnDataType_t convType = CUDNN_DATA_FLOAT;  // of the convolution's own result
  std::vector<EpilogueStage> epilogue;

  int64_t groups() const { return x.dims[1] / w.dims[1]; }
};

struct Bindings {
  const void* x = nullptr;
  const void* w = nullptr;
  void* y = nullptr;
  std::vector<const void*> operands;  // one per stage; null for relu
};

// On the calling thread. `tf32`: float32 inputs lose their lower 13 bits, as on tensor cores.
void runRecipe(const Recipe& recipe, const Bindings& bindings, bool tf32);

}  // namespace resnet::simulated
