// A plan with its pointers, put on a stream.
#pragma once

#include <cuda_runtime_api.h>

#include "test/cuda/simulated/cudnn/descriptor.h"

namespace resnet::simulated {

cudnnStatus_t statusOf(cudaError_t code);
cudnnStatus_t execute(cudaStream_t stream, const Descriptor& plan, const Descriptor& pack,
                      std::string& why);

}  // namespace resnet::simulated
