// cuDNN opened by name. The entry points that cudnn_frontend calls are defined in library.cc and
// pass each call to the opened library, so that the backend links no cuDNN and starts without one.
#pragma once

#include <cudnn_graph.h>

#include <string>
#include <string_view>

#include "cuda/cudnn/convolution.h"

namespace resnet::cuda {

// What engine heuristics with workspace sizes need: 9.2.
constexpr size_t kMinimumCudnn = 90200;

// "9.24.0" of 92400.
std::string cudnnVersionText(size_t version);

// One line of at most 240 characters: cuDNN explains a refusal by everything that it tried.
std::string brief(std::string_view text);

// The last failure that an entry point returned to this thread, and success from then on. The
// frontend passes failures on as text; this keeps the number.
cudnnStatus_t takeCudnnFailure();

// A failure of cuDNN as a Status: "cudnnCreate: CUDNN_STATUS_... (what it says about itself)". A
// device that the CUDA runtime holds for lost is kDeviceLost whatever cuDNN calls it.
Status cudnnError(cudnnStatus_t failure, std::string_view what);

}  // namespace resnet::cuda
