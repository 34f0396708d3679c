// A compiled plan on one device: operations in step order over an arena. Immutable; lanes share it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/backend.h"
#include "cuda/cudnn/convolution.h"
#include "cuda/device.h"
#include "cuda/value.h"

namespace resnet::cuda {

// Work enqueued for a whole bucket of images: one step or a part of it. Allocates nothing.
struct Operation {
  const std::string* step = nullptr;  // of the program's plan
  std::function<Status(std::byte* arena, cudaStream_t stream)> enqueue;
};

// A border of the plan: values that meet callers' memory piece by piece, outside the captured graph,
// so that a piece on the device is used where it lies.
struct InputBorder {
  const std::string* step = nullptr;
  int index = 0;  // in the submission
  DType type = DType::kFloat32;
  bool nhwc = false;
  std::optional<Interpolation> resize;          // pieces are pictures of sizes of their own
  const float *mean = nullptr, *std = nullptr;  // device memory
  View value;                                   // of one image; data is an offset into the arena
  // Of the value in the arena; of the caller's image, 0 for pictures.
  size_t offset = 0, imageBytes = 0;
};
struct OutputBorder {
  const std::string* step = nullptr;
  int index = 0;
  bool nhwc = false;
  View value;
  size_t offset = 0, imageBytes = 0;
};

// How a step runs, for explain().
struct Choice {
  std::string implementation;
  std::vector<std::string> refused;
  double milliseconds = 0;  // of the race, a whole bucket; 0: unmeasured
};

class CudaProgram final : public Program, public std::enable_shared_from_this<CudaProgram> {
 public:
  CudaProgram(std::shared_ptr<Device> device, Plan plan, const CompileOptions& options)
      : device_(std::move(device)), plan_(std::move(plan)), options_(options) {}

  // A cuDNN context of its own; before it is compiled.
  Status open();

  Result<std::unique_ptr<Lane>> createLane() const override;
  std::vector<ExplainRow> explain() const override;
  size_t arenaBytes() const override { return arenaBytes_; }
  size_t weightBytes() const override { return weightBytes_; }
  int threads() const override { return 1; }
  const char* isa() const override { return device_->capability(); }

 private:
  friend class Compiler;
  friend class CudaLane;

  // Everything between the borders. Polls `control` between operations; null: never stops.
  Status enqueueBody(std::byte* arena, cudaStream_t stream, const Control* control) const;
  void refuseGraph(const std::string& reason) const;

  const std::shared_ptr<Device> device_;
  const Plan plan_;
  const CompileOptions options_;
  std::vector<InputBorder> inputs_;
  std::vector<OutputBorder> outputs_;
  std::vector<Operation> operations_;
  std::vector<Choice> choices_;  // by step
  size_t arenaBytes_ = 0, weightBytes_ = 0;

  std::vector<std::shared_ptr<const PackedBuffer>> weights_;  // keeps them alive
  // Engines are used with one handle: one lane enqueues at a time.
  std::unique_ptr<CudnnContext> cudnn_;
  mutable std::mutex enqueueMutex_;
  mutable std::mutex refusalMutex_;
  mutable std::string graphRefusal_;
};

}  // namespace resnet::cuda
