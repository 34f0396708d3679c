// Whether NVIDIA's driver is on this machine, asked by those who have no CUDA backend to ask.
#pragma once

#include <string>

namespace resnet {

// The file of the driver's library, libcuda.so.1, as the loader finds it; empty where there is none.
// Nothing of it is called, and it is closed again.
std::string nvidiaDriverFile();

}  // namespace resnet
