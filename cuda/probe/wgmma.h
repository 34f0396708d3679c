// What Hopper's matrix instruction reaches by itself, by its width and by where A comes from.
#pragma once

#include <cuda_runtime_api.h>

namespace resnet::cuda::probe {

struct MatrixLaunch {
  int n = 64;  // of m64 n k16
  bool aInRegisters = false;
  int blocks = 1, iterations = 1;
};

// FLOP of a launch.
double matrixFlop(const MatrixLaunch& launch);

// Enqueues it. Only on compute capability 9.0: elsewhere cudaErrorNoKernelImageForDevice.
cudaError_t launchMatrix(const MatrixLaunch& launch, float* sink, cudaStream_t stream);

}  // namespace resnet::cuda::probe
