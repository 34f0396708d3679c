// The CPU backend as a plugin with devices: what core/plugin.h carries is then compared with the backend itself, and
// the addon's device support runs where there is no GPU. Its device memory is the host's, under a cap; values of half
// precision are computed in float32. RESNET_TEST_PLUGIN_REASON makes it a machine without devices, for that reason.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "core/plugin_export.h"
#include "cpu/backend.h"

namespace resnet::test {
namespace {

constexpr int kDevices = 2;
constexpr size_t kDeviceBytes = size_t{1} << 30;

class HostBuffer final : public DeviceBuffer {
 public:
  HostBuffer(std::shared_ptr<std::atomic<size_t>> used, size_t bytes)
      : used_(std::move(used)), bytes_(bytes), data_(std::make_unique<char[]>(bytes)) {
    used_->fetch_add(bytes);
  }
  ~HostBuffer() override { used_->fetch_sub(bytes_); }
  void* data() const override { return data_.get(); }
  size_t bytes() const override { return bytes_; }

 private:
  std::shared_ptr<std::atomic<size_t>> used_;
  size_t bytes_;
  std::unique_ptr<char[]> data_;
};

class CpuDevice final : public Backend {
 public:
  explicit CpuDevice(size_t limit)
      : cpu_(cpu::makeCpuBackend(cpu::ThreadPool::acquire())),
        limit_(limit == 0 ? kDeviceBytes : limit),
        used_(std::make_shared<std::atomic<size_t>>(0)) {}

  Result<std::shared_ptr<DeviceBuffer>> allocate(size_t bytes) override {
    if (used_->load() + bytes > limit_) {
      return Status::error(Code::kOutOfMemory, "the device has " + std::to_string(limit_) +
                                                   " bytes, " + std::to_string(used_->load()) +
                                                   " in use, asked for " + std::to_string(bytes));
    }
    return std::shared_ptr<DeviceBuffer>(std::make_shared<HostBuffer>(used_, bytes));
  }
  Status upload(DeviceBuffer& to, const void* from, size_t bytes) override {
    std::memcpy(to.data(), from, bytes);
    return Status::okay();
  }
  Status download(void* to, const DeviceBuffer& from, size_t bytes) override {
    std::memcpy(to, from.data(), bytes);
    return Status::okay();
  }
  MemoryUse memory() const override {
    return {.tensors = used_->load(), .limit = limit_, .process = 77, .processReason = "counted"};
  }

  Result<std::shared_ptr<const Program>> compile(const Plan& plan,
                                                 std::shared_ptr<const Weights> weights,
                                                 const CompileOptions& options,
                                                 const Control& control) override {
    Plan single = plan;
    for (ValueInfo& value : single.values) {
      if (isFloat(value.dtype)) value.dtype = DType::kFloat32;
    }
    CompileOptions own = options;
    if (own.precision == Float32Precision::kTf32) own.precision = Float32Precision::kHigh;
    return cpu_->compile(single, std::move(weights), own, control);
  }

 private:
  std::shared_ptr<Backend> cpu_;
  size_t limit_;
  std::shared_ptr<std::atomic<size_t>> used_;
};

Probe probe() {
  Probe found{.driver = "1.0",
              .runtime = "2.0",
              .cudnn = "3.0",
              .cudnnPath = "/test/libcudnn.so",
              .nvml = "4.0"};
  if (const char* reason = std::getenv("RESNET_TEST_PLUGIN_REASON")) return {.reason = reason};
  for (int i = 0; i < kDevices; ++i) {
    found.devices.push_back({.index = i,
                             .name = "Test device",
                             .uuid = "GPU-" + std::to_string(i),
                             .capabilityMajor = 9,
                             .capabilityMinor = 0,
                             .multiprocessors = 4,
                             .memoryBytes = kDeviceBytes,
                             .freeBytes = kDeviceBytes / 2,
                             .mig = i == 1,
                             .ceilings = {1e12, 2e12, 3e12, 4e12, 5e12, "a test's"},
                             .processBytes = 3 << 20});
  }
  return found;
}

Result<std::shared_ptr<Backend>> makeBackend(const BackendOptions& options) {
  constexpr int kThrowing = 666;
  if (options.device == kThrowing) throw std::runtime_error("thrown behind the boundary");
  if (options.device < 0 || options.device >= kDevices) {
    return Status::error(
        Code::kUnavailable,
        "there is no device " + std::to_string(options.device) + "; devices are 0 and 1");
  }
  return std::shared_ptr<Backend>(std::make_shared<CpuDevice>(options.memoryLimit));
}

}  // namespace
}  // namespace resnet::test

extern "C" __attribute__((visibility("default"))) const ResnetPlugin* resnetPlugin() {
  static const ResnetPlugin* const table =
      resnet::exportPlugin({.kind = "test",
                            .version = "0.0.0-test",
                            .probe = resnet::test::probe,
                            .makeBackend = resnet::test::makeBackend});
  return table;
}
