// A compiled plan on one device: operations in step order over an arena. Immutable; lanes share it.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/backend.h"
#include "cuda/cudnn/convolution.h"
#include "cuda/device.h"
#include "cuda/schedule.h"

namespace resnet::cuda {

class CudaProgram final : public Program, public std::enable_shared_from_this<CudaProgram> {
 public:
  CudaProgram(std::shared_ptr<Device> device, Plan plan, const CompileOptions& options)
      : device_(std::move(device)), plan_(std::move(plan)), options_(options) {}

  // A cuDNN context of its own; before it is compiled.
  Status open();

  Result<std::unique_ptr<Lane>> createLane() const override;
  std::vector<ExplainRow> explain() const override;
  size_t arenaBytes() const override { return schedule_.arenaBytes(); }
  size_t weightBytes() const override { return weightBytes_; }
  int threads() const override { return 1; }
  const char* isa() const override { return device_->capability(); }

 private:
  friend class Compiler;
  friend class CudaLane;
  friend class Scheduler;

  // Everything between the borders, as Schedule::enqueue().
  Status enqueueBody(std::byte* arena, const TrackStreams& on, const Control* control) const;
  ExplainRow explainSchedule() const;
  void refuseGraph(const std::string& reason) const;

  const std::shared_ptr<Device> device_;
  const Plan plan_;
  const CompileOptions options_;
  Schedule schedule_;
  std::vector<std::string>
      scheduleRefused_;              // other ways to run a batch, with their times or reasons
  double scheduleMilliseconds_ = 0;  // of a batch between the borders; 0: unmeasured
  size_t weightBytes_ = 0;

  std::vector<std::shared_ptr<const PackedBuffer>> weights_;  // keeps them alive
  // Engines are used with one handle: one lane enqueues at a time.
  std::unique_ptr<CudnnContext> cudnn_;
  mutable std::mutex enqueueMutex_;
  mutable std::mutex refusalMutex_;
  mutable std::string graphRefusal_;
};

}  // namespace resnet::cuda
