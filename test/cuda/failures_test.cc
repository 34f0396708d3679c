// The CUDA backend when a device is lost or full, when a cap is met, and on machines that lack
// something. plugin_failure_test.cc lets every single call fail.
#include <cstring>

#include "cuda/backend.h"
#include "cuda/devices.h"
#include "cuda/workshop.h"
#include "test/cuda/backend_harness.h"
#include "test/cuda/reports.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"

namespace {

using namespace resnet;
using namespace resnet::test;

CompileOptions smallOptions(bool graphs) {
  CompileOptions options;
  options.maxBatch = 1;
  options.autotune = Autotune::kOff;
  options.graphs = graphs;
  return options;
}

TEST("device work that fails loses this device alone, and every program on it says so") {
  const Network net = smallNetwork(8, DType::kFloat16);
  for (const bool graphs : {true, false}) {
    resnetSimulatedReset();
    resnetSimulatedSetDeviceCount(2);
    {
      auto backend = cuda::makeCudaBackend({});
      CHECK(backend.ok());
      const auto weights = net.weights();
      auto program = backend.value()->compile(net.plan, weights, smallOptions(graphs), Control{});
      CHECK(program.ok());
      auto lane = program.value()->createLane(), other = program.value()->createLane();
      CHECK(lane.ok() && other.ok());
      Images images(net.plan, 1);
      CHECK(runOnce(*lane.value(), images.submission()).ok());
      resnetSimulatedFailWorkAt(3, cudaErrorIllegalAddress);
      const Status lost = runOnce(*lane.value(), images.submission());
      CHECK_EQ(codeName(lost.code), std::string("ERR_RESNET_DEVICE_LOST"));
      CHECK_HAS(lost.message, "cudaErrorIllegalAddress");
      for (Lane* each : {lane.value().get(), other.value().get()})
        CHECK(runOnce(*each, images.submission()).code == Code::kDeviceLost);
      CHECK(program.value()->createLane().status().code == Code::kDeviceLost);
      CHECK(backend.value()->allocate(1).status().code == Code::kDeviceLost);
      CHECK(backend.value()
                ->compile(net.plan, weights, smallOptions(graphs), Control{})
                .status()
                .code == Code::kDeviceLost);
      // The same weights on another device.
      cuda::BackendOptions second;
      second.device = 1;
      auto elsewhere = cuda::makeCudaBackend(second);
      CHECK_EQ(elsewhere.ok() ? std::string() : elsewhere.status().message, std::string());
      if (!elsewhere.ok()) continue;
      auto moved = elsewhere.value()->compile(net.plan, weights, smallOptions(graphs), Control{});
      CHECK_EQ(moved.ok() ? std::string() : moved.status().message, std::string());
      if (!moved.ok()) continue;
      auto movedLane = moved.value()->createLane();
      CHECK(movedLane.ok());
      if (movedLane.ok()) CHECK(runOnce(*movedLane.value(), images.submission()).ok());
    }
    CHECK_EQ(leaks(), std::string());
    CHECK_EQ(violations(), std::string());
  }
}

TEST("the cap counts weights, arenas and tensors, and leaves everything usable") {
  resnetSimulatedReset();
  const Network net = smallNetwork(16, DType::kFloat16);
  {
    cuda::BackendOptions options;
    options.memoryLimit = 64 << 10;
    auto backend = cuda::makeCudaBackend(options);
    CHECK(backend.ok());
    Images images(net.plan, 1);
    const auto weights = net.weights();
    auto program = backend.value()->compile(net.plan, weights, smallOptions(true), Control{});
    CHECK_EQ(program.ok() ? std::string() : program.status().message, std::string());
    const MemoryUse before = backend.value()->memory();
    CHECK_EQ(before.limit, size_t{64 << 10});
    const Status tensor = backend.value()->allocate(64 << 10).status();
    CHECK(tensor.code == Code::kOutOfMemory);
    CHECK_HAS(tensor.message, "memoryLimit 65536");
    CompileOptions large = smallOptions(true);
    large.maxBatch = 64;
    auto big = backend.value()->compile(net.plan, weights, large, Control{});
    CHECK(big.ok());  // memory for batches is the lane's
    const auto tooBig = big.value()->createLane();
    CHECK(tooBig.status().code == Code::kOutOfMemory);
    CHECK_EQ(backend.value()->memory().arenas + backend.value()->memory().staging, size_t{0});
    auto lane = program.value()->createLane();
    CHECK_EQ(lane.ok() ? std::string() : lane.status().message, std::string());
    if (lane.ok()) CHECK(runOnce(*lane.value(), images.submission()).ok());
  }
  CHECK_EQ(leaks(), std::string());
  CHECK_EQ(violations(), std::string());
}

TEST("freeing a tensor waits for nothing that runs, where the device has memory pools") {
  for (const bool pools : {true, false}) {
    resnetSimulatedReset();
    resnetSimulatedSetPools(pools);
    {
      cuda::BackendOptions options;
      options.memoryLimit = 4096;
      auto backend = cuda::makeCudaBackend(options);
      CHECK(backend.ok());
      auto kept = backend.value()->allocate(1024), tensor = backend.value()->allocate(3072);
      CHECK(kept.ok() && tensor.ok());
      CHECK_EQ(backend.value()->memory().tensors, size_t{4096});
      CHECK(backend.value()->allocate(1).status().code == Code::kOutOfMemory);
      cudaStream_t stream = nullptr;
      CHECK_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
      CHECK_EQ(cudaMemsetAsync(kept.value()->data(), 1, 1024, stream), cudaSuccess);
      const uint64_t before = resnetSimulatedWorkCount();
      tensor.value().reset();
      CHECK_EQ(resnetSimulatedWorkCount() > before, !pools);  // cudaFree waits for the device
      CHECK_EQ(backend.value()->memory().tensors, size_t{1024});
      // The cap is free again at once, and the memory is.
      auto again = backend.value()->allocate(3072);
      CHECK(again.ok());
      CHECK(resnetSimulatedPeakMemory(0) <= size_t{4096});
      CHECK_EQ(cudaStreamSynchronize(stream), cudaSuccess);
      CHECK_EQ(cudaStreamDestroy(stream), cudaSuccess);
    }
    CHECK_EQ(leaks(), std::string());
    CHECK_EQ(violations(), std::string());
  }
}

TEST("a device that is full is out of memory, until it is not") {
  resnetSimulatedReset();
  const Network net = smallNetwork(16, DType::kFloat16);
  {
    auto backend = cuda::makeCudaBackend({});
    CHECK(backend.ok());
    const auto weights = net.weights();
    resnetSimulatedSetMemoryLimit(resnetSimulatedMemoryUsed(0) + 1024);
    const auto refused = backend.value()->compile(net.plan, weights, smallOptions(true), Control{});
    CHECK(refused.status().code == Code::kOutOfMemory);
    CHECK_EQ(refused.status().step.substr(0, 4), std::string("conv"));
    CHECK_HAS(refused.status().message, "cudaErrorMemoryAllocation");
    resnetSimulatedSetMemoryLimit(size_t{1} << 30);
    auto program = backend.value()->compile(net.plan, weights, smallOptions(true), Control{});
    CHECK(program.ok());
    auto lane = program.value()->createLane();
    Images images(net.plan, 1);
    CHECK(runOnce(*lane.value(), images.submission()).ok());
  }
  CHECK_EQ(leaks(), std::string());
  CHECK_EQ(violations(), std::string());
}

// --- the machine

TEST("probe says what is there, and the reason when it cannot be used") {
  resnetSimulatedReset();
  cuda::Probe found = cuda::probe();
  CHECK_EQ(found.reason, std::string());
  CHECK_EQ(found.devices.size(), size_t{1});
  CHECK_EQ(found.driver, std::string("CUDA 13.0"));
  CHECK_EQ(found.cudnn, std::string("9.24.0"));
  CHECK_HAS(found.cudnnPath, "libcudnn.so.9");
  CHECK(found.devices[0].memoryBytes > 0 && found.devices[0].freeBytes > 0);
  CHECK_EQ(found.devices[0].uuid.size(), size_t{40});
  CHECK_EQ(found.nvml, std::string("13.580.0"));

  resnetSimulatedSetDriverVersion(0);
  found = cuda::probe();
  CHECK_HAS(found.reason, "no NVIDIA driver found");
  CHECK_HAS(found.reason, "580 or newer");
  CHECK(found.devices.empty());
  CHECK(cuda::makeCudaBackend({}).status().code == Code::kUnavailable);

  resnetSimulatedSetDriverVersion(12040);
  found = cuda::probe();
  CHECK_HAS(found.reason, "supports CUDA 12.4, expected an NVIDIA driver of version 580");

  resnetSimulatedSetDriverVersion(13000);
  resnetSimulatedSetDeviceCount(0);
  CHECK_HAS(cuda::probe().reason, "no device");

  resnetSimulatedSetDeviceCount(1);
  cuda::BackendOptions options;
  options.device = 3;
  const Status absent = cuda::makeCudaBackend(options).status();
  CHECK(absent.code == Code::kUnavailable);
  CHECK_HAS(absent.message, "no device cuda:3");
  CHECK_EQ(leaks(), std::string());
  CHECK_EQ(violations(), std::string());
}

TEST("the first device is one that works, whatever stands before it") {
  resnetSimulatedReset();
  resnetSimulatedSetDeviceCount(3);
  resnetSimulatedSetCapability(0, 6);
  const cuda::Probe found = cuda::probe();
  CHECK_EQ(found.reason, std::string());
  std::string order;
  for (const cuda::DeviceInfo& device : found.devices) order += std::to_string(device.index);
  CHECK_EQ(order, std::string("120"));
  const Status old = cuda::makeCudaBackend({}).status();
  CHECK(old.code == Code::kUnavailable);
  CHECK_HAS(old.message, "expected 7.5 or newer");
  CHECK_EQ(leaks(), std::string());
  CHECK_EQ(violations(), std::string());
}

TEST("kept engines are known by the device, its libraries and our own kernels") {
  resnetSimulatedReset();
  const auto environment = cuda::engineEnvironment(cuda::probe().devices.at(0));
  CHECK(environment.ok());
  CHECK_EQ(environment.value().capabilityMajor, 9);
  CHECK_EQ(environment.value().driver, std::string("13000 580.95.05"));
  CHECK_EQ(environment.value().cudnn, size_t{92400});
  CHECK_EQ(environment.value().kernels.size(), size_t{32});
}

TEST("the driver's count of this process's memory, and the reason where there is none") {
  resnetSimulatedReset();
  const Network net = smallNetwork(16, DType::kFloat16);
  auto backend = cuda::makeCudaBackend({});
  CHECK(backend.ok());
  CHECK_EQ(backend.value()->memory().process, size_t{0});
  auto program = backend.value()->compile(net.plan, net.weights(), smallOptions(true), Control{});
  CHECK(program.ok());
  MemoryUse use = backend.value()->memory();
  CHECK_EQ(use.process, resnetSimulatedMemoryUsed(0));
  CHECK(use.process >= use.weights && use.weights > 0);
  CHECK_EQ(use.processReason, std::string());
  const auto after = [&](int how) {
    resnetSimulatedSetNvml(how);
    auto lane = program.value()->createLane();
    CHECK(lane.ok());
    use = backend.value()->memory();
    return use.processReason;
  };
  CHECK_EQ(after(kNvmlWorks), std::string());
  CHECK(use.process >= use.weights + use.arenas && use.arenas > 0);
  CHECK_EQ(after(kNvmlSlice), std::string());
  CHECK(use.process > 0);
  CHECK_HAS(after(kNvmlForeignNumbers), "in a container");
  CHECK_EQ(use.process, size_t{0});
  CHECK_HAS(after(kNvmlCountsNothing), "does not count memory by process");
}

TEST("what a CUDA device has no use for is refused by name") {
  resnetSimulatedReset();
  const Network net = smallNetwork(8, DType::kFloat16);
  auto backend = cuda::makeCudaBackend({});
  CHECK(backend.ok());
  CompileOptions options = smallOptions(true);
  options.isa = "avx2";
  CHECK_HAS(backend.value()->compile(net.plan, net.weights(), options, Control{}).status().message,
            "isa");
  options.isa.clear();
  options.maxBatch = 0;
  CHECK_HAS(backend.value()->compile(net.plan, net.weights(), options, Control{}).status().message,
            "maxBatch must be from 1");
}

}  // namespace

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
