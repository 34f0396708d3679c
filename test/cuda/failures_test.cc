// The CUDA backend when something fails: every call into CUDA and cuDNN in turn, every piece of device
// work, memory, the machine itself. Each failure ends in the right code, names its step where it has
// one, leaks nothing and leaves usable what is not lost.
#include <cstring>

#include "cuda/backend.h"
#include "test/cuda/networks.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"

namespace {

using namespace resnet;
using namespace resnet::test;

std::string leaks() {
  char text[4096] = "";
  return resnetSimulatedLeaks(text, sizeof text) == 0 ? "" : text;
}
std::string violations() {
  char text[4096] = "";
  resnetSimulatedViolations(text, sizeof text);
  return text;
}

CompileOptions smallOptions(bool graphs) {
  CompileOptions options;
  options.maxBatch = 1;
  options.autotune = Autotune::kOff;
  options.graphs = graphs;
  return options;
}

// Everything a user does, each step of it stopping at the first failure: open, tensors, compile, a lane, a run.
Status live(const Network& net, const CompileOptions& options, Images& images,
            cuda::BackendOptions backendOptions = {}) {
  auto backend = cuda::makeCudaBackend(backendOptions);
  if (!backend.ok()) return backend.takeStatus();
  auto buffer = backend.value()->allocate(64);
  if (!buffer.ok()) return buffer.takeStatus();
  char bytes[64] = {};
  RESNET_RETURN_IF_ERROR(backend.value()->upload(*buffer.value(), bytes, sizeof bytes));
  RESNET_RETURN_IF_ERROR(backend.value()->download(bytes, *buffer.value(), sizeof bytes));
  auto program = backend.value()->compile(net.plan, net.weights(), options, Control{});
  if (!program.ok()) return program.takeStatus();
  auto lane = program.value()->createLane();
  if (!lane.ok()) return lane.takeStatus();
  RESNET_RETURN_IF_ERROR(runOnce(*lane.value(), images.submission()));
  return runOnce(*lane.value(), images.submission());
}

TEST("a failure of any call ends in its code, leaks nothing, and leaves the rest usable") {
  const Network net = smallNetwork(8, DType::kFloat16);
  resnetSimulatedReset();
  Images expected(net.plan, 1);
  CHECK(live(net, smallOptions(true), expected).ok());
  for (const bool graphs : {true, false}) {
    for (const cudaError_t code :
         {cudaErrorMemoryAllocation, cudaErrorIllegalAddress, cudaErrorUnknown}) {
      uint64_t failures = 0, survived = 0;
      for (uint64_t n = 1;; ++n) {
        resnetSimulatedReset();
        resnetSimulatedFailAt(n, code);
        Images images(net.plan, 1);
        const Status status = live(net, smallOptions(graphs), images);
        const std::string call = resnetSimulatedFailedCall();
        if (call.empty()) break;
        const std::string where = "call " + std::to_string(n) + " (" + call + "), code " +
                                  std::to_string(code) + ": " + status.message;
        if (status.ok()) {  // a call whose failure has another way: a destruction, a graph, a query
          ++survived;
          if (images.outputs[0] != expected.outputs[0])
            fault(__FILE__, __LINE__, where + " changed the result");
        } else {
          ++failures;
          if (status.message.empty() || status.code == Code::kAborted)
            fault(__FILE__, __LINE__, where);
          if (code == cudaErrorMemoryAllocation && status.code != Code::kOutOfMemory &&
              status.code != Code::kUnavailable && status.code != Code::kUnsupported)
            fault(__FILE__, __LINE__, where + " has code " + codeName(status.code));
          if (code == cudaErrorIllegalAddress && status.code != Code::kDeviceLost &&
              status.code != Code::kUnavailable && status.code != Code::kUnsupported)
            fault(__FILE__, __LINE__, where + " has code " + codeName(status.code));
        }
        if (!leaks().empty()) fault(__FILE__, __LINE__, where + " leaked " + leaks());
        if (!violations().empty()) fault(__FILE__, __LINE__, where + ": " + violations());
        if (code != cudaErrorIllegalAddress) {
          Images again(net.plan, 1);
          const Status second = live(net, smallOptions(graphs), again);
          if (!second.ok() || again.outputs[0] != expected.outputs[0])
            fault(__FILE__, __LINE__, where + ", and then " + second.message);
        }
      }
      std::printf("  code %d, graphs %d: %llu failures reported, %llu survived\n", int(code),
                  graphs, static_cast<unsigned long long>(failures),
                  static_cast<unsigned long long>(survived));
      CHECK(failures > 40);
    }
  }
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
