#include "cuda/pictures.h"

#include <algorithm>
#include <cstring>

#include "cuda/kernels/kernels.h"

namespace resnet::cuda {
namespace {

// Of a stage that no single picture exceeds: long enough to reach the speed of the bus.
constexpr size_t kStageBytes = size_t{16} << 20;

// In a stage pictures lie without a gap between rows.
ResizeArguments argumentsOf(const InputBorder& border, const InputPiece& piece) {
  ResizeArguments arguments;
  arguments.picture = *piece.picture;
  arguments.picture.pitch = size_t(arguments.picture.x.held) * size_t(arguments.picture.channels);
  arguments.interpolation = *border.resize;
  arguments.mean = border.mean;
  arguments.std = border.std;
  arguments.to = border.value;
  arguments.to.n = 1;
  return arguments;
}

void copyPicture(const InputPiece& piece, std::byte* to) {
  const Picture& picture = *piece.picture;
  const size_t row = size_t(picture.x.held) * size_t(picture.channels);
  const auto* from = static_cast<const std::byte*>(piece.data);
  if (picture.pitch == row) {
    std::memcpy(to, from, row * size_t(picture.y.held));
    return;
  }
  for (int y = 0; y < picture.y.held; ++y, from += picture.pitch, to += row)
    std::memcpy(to, from, row);
}

}  // namespace

Status Pictures::start() {
  for (Stage& stage : stages_) {
    RESNET_RETURN_IF_ERROR(make(stage.uploaded));
    RESNET_RETURN_IF_ERROR(make(stage.consumed));
  }
  return Status::okay();
}

Status Pictures::enqueue(const InputBorder& border, const std::vector<InputPiece>& pieces,
                         const ViewOf& viewOf, const Streams& on) {
  for (size_t first = 0; first < pieces.size();) {
    size_t last = first, bytes = 0;
    do {
      bytes += pieces[last++].picture->heldBytes();
    } while (last < pieces.size() && bytes + pieces[last].picture->heldBytes() <= kStageBytes);
    Stage& stage = stages_[next_];
    next_ = (next_ + 1) % stages_.size();
    RESNET_RETURN_IF_ERROR(enqueue(stage, border, pieces, first, last, viewOf, on));
    first = last;
  }
  return Status::okay();
}

Status Pictures::enqueue(Stage& stage, const InputBorder& border,
                         const std::vector<InputPiece>& pieces, size_t first, size_t last,
                         const ViewOf& viewOf, const Streams& on) {
  size_t bytes = 0, scratchFloats = 0;
  for (size_t i = first; i < last; ++i) {
    bytes += pieces[i].picture->heldBytes();
    scratchFloats = std::max(scratchFloats, resizeScratchFloats(argumentsOf(border, pieces[i])));
  }
  RESNET_RETURN_IF_ERROR(reserve(stage, bytes, scratchFloats * sizeof(float)));
  size_t at = 0;
  for (size_t i = first; i < last; ++i) {
    copyPicture(pieces[i], stage.host.data() + at);
    at += pieces[i].picture->heldBytes();
  }
  RESNET_RETURN_IF_CUDA(cudaMemcpyAsync(stage.device.data(), stage.host.data(), bytes,
                                        cudaMemcpyHostToDevice, on.upload),
                        "uploading pictures");
  RESNET_RETURN_IF_CUDA(cudaEventRecord(stage.uploaded, on.upload), "uploading pictures");
  RESNET_RETURN_IF_CUDA(cudaStreamWaitEvent(on.compute, stage.uploaded, 0), "uploading pictures");
  // From here on the stage is read, whatever fails.
  stage.used = true;
  at = 0;
  for (size_t i = first; i < last; ++i) {
    ResizeArguments arguments = argumentsOf(border, pieces[i]);
    arguments.source = reinterpret_cast<const uint8_t*>(stage.device.data() + at);
    arguments.scratch = reinterpret_cast<float*>(stage.scratch.data());
    arguments.to = viewOf(int(i));
    at += pieces[i].picture->heldBytes();
    RESNET_RETURN_IF_CUDA(resize(arguments, on.compute), "resizing pictures");
  }
  RESNET_RETURN_IF_CUDA(cudaEventRecord(stage.consumed, on.compute), "resizing pictures");
  return Status::okay();
}

// Room in a stage that nothing uses any more.
Status Pictures::reserve(Stage& stage, size_t bytes, size_t scratchBytes) {
  if (stage.used) {
    RESNET_RETURN_IF_CUDA(cudaEventSynchronize(stage.consumed), "waiting for earlier pictures");
    stage.used = false;
  }
  const auto grow = [&](DeviceMemory& memory, size_t needed) -> Status {
    if (needed <= memory.bytes()) return Status::okay();
    memory = {};  // first, so that both never count at once
    auto larger = device_.allocate(MemoryKind::kStaging, needed, "the decoded pictures");
    if (!larger.ok()) return larger.takeStatus();
    memory = larger.take();
    return Status::okay();
  };
  RESNET_RETURN_IF_ERROR(grow(stage.device, bytes));
  RESNET_RETURN_IF_ERROR(grow(stage.scratch, scratchBytes));
  if (bytes <= stage.host.bytes()) return Status::okay();
  stage.host = {};
  auto pinned = PinnedMemory::allocate(bytes);
  if (!pinned.ok()) return pinned.takeStatus();
  stage.host = pinned.take();
  return Status::okay();
}

}  // namespace resnet::cuda
