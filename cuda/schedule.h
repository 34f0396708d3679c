// One way to run a batch: a plan's operations for so many images, once or side by side for two halves of
// the batch. The compiler fills it, the scheduler chooses among several, lanes run it.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/backend.h"
#include "cuda/kernels/kernels.h"
#include "cuda/owners.h"
#include "cuda/value.h"

namespace resnet::cuda {

// Work enqueued for all images of a track: one step or a part of it. Allocates nothing.
struct Operation {
  const std::string* step = nullptr;  // of the program's plan
  size_t index = 0;                   // of the step
  std::function<Status(std::byte* arena, ImageOrder order, cudaStream_t stream)> enqueue;
  // In which order of images it goes where orders alternate; engines of cuDNN cannot be told one.
  ImageOrder order = ImageOrder::kForward;
  double least = 0;  // milliseconds by the device's ceilings: what it weighs among the others
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
  ImageOrder order = ImageOrder::kForward;
};
struct OutputBorder {
  const std::string* step = nullptr;
  int index = 0;
  bool nhwc = false;
  View value;
  size_t offset = 0, imageBytes = 0;
  ImageOrder order = ImageOrder::kForward;
};

// How a step runs, for explain().
struct Choice {
  std::string implementation;
  std::vector<std::string> refused;
  double milliseconds = 0;  // of all images of a track, alone on the device; 0: unmeasured
  size_t workspaceBytes = 0;
};

// Where the operations of a batch are enqueued: with two tracks on two streams.
struct TrackStreams {
  cudaStream_t first = nullptr, second = nullptr;
  cudaEvent_t forked = nullptr, joined = nullptr;
};
// What TrackStreams borrows for a second track.
struct SecondTrack {
  Stream stream;
  Event forked, joined;
  Status make();
  TrackStreams beside(cudaStream_t first) const { return {first, stream, forked, joined}; }
};

struct Schedule {
  int images = 0;           // of a track
  int tracks = 1;           // 1 or 2
  bool alternates = false;  // operations go in their own order, otherwise all forward
  std::vector<InputBorder> inputs;
  std::vector<OutputBorder> outputs;
  std::vector<Operation> operations;
  std::vector<Choice> choices;  // by step
  size_t trackBytes = 0;        // of the arena of one track
  // Operations of the first track before the second begins: half of what all of them weigh.
  size_t lead = 0;

  size_t arenaBytes() const { return size_t(tracks) * trackBytes; }
  ImageOrder orderOf(ImageOrder own) const { return alternates ? own : ImageOrder::kForward; }

  // Enqueues everything between the borders. With two tracks the second starts when the first is half
  // through, and work that is enqueued on `on.first` before or after is before or after both. Polls
  // `control` between operations; null: never stops. After a failure both streams may be at work.
  Status enqueue(std::byte* arena, const TrackStreams& on, const Control* control) const;
  // What comes between two borders goes backwards somewhere.
  bool canAlternate() const;
};

}  // namespace resnet::cuda
