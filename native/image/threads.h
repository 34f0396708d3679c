// How many images are prepared at once where a call does not say.
#pragma once

#include "core/status.h"

namespace resnet::image {

inline constexpr int kMostThreads = 1024;

// RESNET_IMAGE_THREADS if set and not empty, else as many as networks use: whichever of decoding and the network has
// less to do sleeps, so that neither holds cores back from the other. kInvalidArgument for what is no number from 1 to
// 1024.
Result<int> threadCount();

}  // namespace resnet::image
