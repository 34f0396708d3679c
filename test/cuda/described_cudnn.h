// The real cuDNN for devices that are not there: the interposer in front of the installed library, told of
// one of the devices of test/cuda/devices, and the convolutions that it is asked about.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda/cudnn/convolution.h"

namespace resnet::cuda::test {

// False, with the skip of `test` noted, where the real library is not installed.
bool realCudnnInstalled(const std::string& test);

// Runs `body` in a process of its own and takes over its faults. One for each device: cuDNN keeps what its
// heuristics found for a graph, and answers the next device of the same process from it. Two run at once
// where several are given.
void inOwnProcesses(const std::vector<std::function<void()>>& bodies);

// From now on everything made of cuDNN is for this device: "sm90" of test/cuda/devices/sm90.json. Opens
// the library at the first call; a fault of the test when that or the description does not do. Returns
// its version, 92400.
size_t describeDevice(const std::string& device);

// A context of the backend's own for that device.
std::unique_ptr<CudnnContext> contextFor(const std::string& device);

struct ConvolutionRow {
  ConvolutionShape shape;  // n = 1, float16; channels as the table has them
  bool toFloat32 = false;  // a classifier
  std::string layer;
};

// test/cuda/convolutions.txt.
std::vector<ConvolutionRow> convolutionTable();

// A file of test/cuda, whole.
std::string testFile(const std::string& name);

}  // namespace resnet::cuda::test
