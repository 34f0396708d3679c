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
  CHECK_EQ(driverBuild(), std::string("580.95.05"));
}

TEST("nvml: without it the driver's build is read from what the kernel's module says") {
  const auto build = [](const char* text) { return driverBuildIn(text); };
  CHECK_EQ(build("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.172.08  Tue Jul  8 18:33:41 "
                 "UTC 2025\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"),
           "570.172.08");
  CHECK_EQ(
      build("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build "
            " (dvs-builder@U22-A23-22-5)  Tue Sep 23 09:55:41 UTC 2025\n"),
      "580.95.05");
  CHECK_EQ(build("NVRM version: 580.95.05"), "580.95.05");
  for (const char* none : {"", "\n", "  ", "NVRM version: NVIDIA UNIX x86_64 Kernel Module\n12.2.0",
                           "NVRM 580 2025 .5 x1.2\n"})
    CHECK_EQ(build(none), "");
}

}  // namespace

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
