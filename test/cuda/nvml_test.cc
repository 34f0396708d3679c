// The driver's management library: one that does not start is said, and asked again.
#include "cuda/nvml.h"

#include "test/cuda/simulated/control.h"
#include "test/native/check.h"

namespace {

using namespace resnet::cuda;

TEST("nvml: what does not start is said, and tried again") {
  resnetSimulatedReset();
  resnetSimulatedSetNvml(kNvmlFails);
  CHECK_EQ(openNvml().version, std::string());
  CHECK_HAS(openNvml().reason, "nvmlInit_v2: Driver Not Loaded (9)");
  const ProcessMemory none = processMemory("GPU-00");
  CHECK_EQ(none.bytes, size_t{0});
  CHECK_HAS(none.reason, "Driver Not Loaded");
  resnetSimulatedSetNvml(kNvmlWorks);
  CHECK_EQ(openNvml().version, std::string("13.580.0"));
  CHECK_EQ(openNvml().reason, std::string());
  CHECK_HAS(processMemory("nothing").reason, "nvmlDeviceGetHandleByUUID");
}

}  // namespace

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
