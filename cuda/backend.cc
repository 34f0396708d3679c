// The CUDA Backend of one device: opens it, makes tensors, compiles programs.
#include "cuda/backend.h"

#include "cuda/devices.h"
#include "cuda/program.h"
#include "cuda/scheduler.h"

namespace resnet::cuda {
namespace {

class CudaBuffer final : public DeviceBuffer {
 public:
  explicit CudaBuffer(DeviceMemory memory, size_t bytes)
      : memory_(std::move(memory)), bytes_(bytes) {}
  void* data() const override { return memory_.data(); }
  size_t bytes() const override { return bytes_; }

 private:
  DeviceMemory memory_;
  size_t bytes_;
};

Status checkFits(const DeviceBuffer& buffer, size_t bytes) {
  if (bytes <= buffer.bytes()) return Status::okay();
  return Status::error(Code::kInvalidArgument, "a copy of " + std::to_string(bytes) +
                                                   " bytes must fit into the tensor's " +
                                                   std::to_string(buffer.bytes()));
}

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  Result<std::shared_ptr<DeviceBuffer>> allocate(size_t bytes) override {
    auto memory = device_->allocate(MemoryKind::kTensors, bytes, "the tensors");
    if (!memory.ok()) return memory.takeStatus();
    return std::shared_ptr<DeviceBuffer>(std::make_shared<CudaBuffer>(memory.take(), bytes));
  }
  Status upload(DeviceBuffer& to, const void* from, size_t bytes) override {
    RESNET_RETURN_IF_ERROR(checkFits(to, bytes));
    return device_->upload(to.data(), from, bytes);
  }
  Status download(void* to, const DeviceBuffer& from, size_t bytes) override {
    RESNET_RETURN_IF_ERROR(checkFits(from, bytes));
    return device_->download(to, from.data(), bytes);
  }
  MemoryUse memory() const override { return device_->memory(); }

  Result<std::shared_ptr<const Program>> compile(const Plan& plan,
                                                 std::shared_ptr<const Weights> weights,
                                                 const CompileOptions& options,
                                                 const Control& control) override;

 private:
  std::shared_ptr<Device> device_;
};

Result<std::shared_ptr<const Program>> CudaBackend::compile(const Plan& plan,
                                                            std::shared_ptr<const Weights> weights,
                                                            const CompileOptions& options,
                                                            const Control& control) {
  constexpr int kMaxBatch = 65536;
  if (options.maxBatch < 1 || options.maxBatch > kMaxBatch)
    return Status::error(Code::kInvalidArgument, "maxBatch must be from 1 to 65536, got " +
                                                     std::to_string(options.maxBatch));
  if (!options.isa.empty())
    return Status::error(Code::kInvalidArgument,
                         "isa chooses instructions of the CPU and must be empty on a CUDA device, "
                         "got '" +
                             options.isa + "'");
  if (options.tracks < 0 || options.tracks > 2)
    return Status::error(
        Code::kInvalidArgument,
        "tracks must be 1, 2 or 0 for whichever is faster, got " + std::to_string(options.tracks));
  if (control.stop()) return Status::aborted();
  RESNET_RETURN_IF_ERROR(device_->usable());
  CurrentDevice current(device_->index());
  auto program = std::make_shared<CudaProgram>(device_, plan, options);
  RESNET_RETURN_IF_ERROR(program->open());
  RESNET_RETURN_IF_ERROR(device_->note(Scheduler(*program, *weights, control).run()));
  device_->countProcess();
  return std::shared_ptr<const Program>(std::move(program));
}

}  // namespace

Result<std::shared_ptr<Backend>> makeCudaBackend(const BackendOptions& options) {
  const Probe found = probe();
  if (!found.reason.empty()) return Status::error(Code::kUnavailable, found.reason);
  const DeviceInfo* chosen = nullptr;
  for (const DeviceInfo& device : found.devices) {
    if (device.index == options.device) chosen = &device;
  }
  if (chosen == nullptr) {
    return Status::error(Code::kUnavailable, "no device cuda:" + std::to_string(options.device) +
                                                 ", expected one from 0 to " +
                                                 std::to_string(int(found.devices.size()) - 1));
  }
  if (std::string reason = unsupportedReason(*chosen); !reason.empty())
    return Status::error(Code::kUnavailable, reason);
  auto device = Device::open(*chosen, options.memoryLimit);
  if (!device.ok()) return device.takeStatus();
  return std::shared_ptr<Backend>(std::make_shared<CudaBackend>(device.take()));
}

}  // namespace resnet::cuda
