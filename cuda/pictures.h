// Decoded pictures of a batch, of any sizes, to an input: uploaded as they are, resized, cropped and
// normalised on the device. One per lane. A batch goes through two stages of bounded size in turn, so
// that one half of its pictures is uploaded while the other is resized, and so that a batch of large
// photographs takes no more page-locked memory than a few of them. A stage grows to the largest picture
// that ever came and keeps that; nothing is allocated after.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "cuda/device.h"
#include "cuda/schedule.h"

namespace resnet::cuda {

class Pictures {
 public:
  explicit Pictures(Device& device) : device_(device) {}

  Status start();

  // Where image i of the batch lies in the border's value.
  using ViewOf = std::function<View(int image)>;
  struct Streams {
    cudaStream_t upload, compute;
  };
  // Piece i becomes image i. Enqueues on both streams; may wait for what was enqueued before. `pieces` are
  // borrowed until it returns. The device is current.
  Status enqueue(const InputBorder& border, const std::vector<InputPiece>& pieces,
                 const ViewOf& viewOf, const Streams& on);

 private:
  struct Stage {
    PinnedMemory host;
    DeviceMemory device, scratch;
    Event uploaded, consumed;
    bool used = false;
  };

  // Pieces first to last - 1 through one stage.
  Status enqueue(Stage& stage, const InputBorder& border, const std::vector<InputPiece>& pieces,
                 size_t first, size_t last, const ViewOf& viewOf, const Streams& on);
  Status reserve(Stage& stage, size_t bytes, size_t scratchBytes);

  Device& device_;
  std::array<Stage, 2> stages_;
  size_t next_ = 0;
};

}  // namespace resnet::cuda
