#include "cuda/schedule.h"

#include <algorithm>

namespace resnet::cuda {
namespace {

Status run(const Schedule& schedule, size_t index, std::byte* arena, cudaStream_t stream,
           const Control* control) {
  if (control != nullptr && control->stop()) return Status::aborted();
  const Operation& operation = schedule.operations[index];
  Status status = operation.enqueue(arena, schedule.orderOf(operation.order), stream);
  return status.ok() ? std::move(status) : std::move(status).at(*operation.step);
}

}  // namespace

Status SecondTrack::make() {
  RESNET_RETURN_IF_ERROR(cuda::make(stream));
  RESNET_RETURN_IF_ERROR(cuda::make(forked));
  return cuda::make(joined);
}

Status Schedule::enqueue(std::byte* arena, const TrackStreams& on, const Control* control) const {
  const size_t count = operations.size(), before = tracks == 1 ? count : lead;
  for (size_t i = 0; i < before; ++i)
    RESNET_RETURN_IF_ERROR(run(*this, i, arena, on.first, control));
  if (tracks == 1) return Status::okay();
  RESNET_RETURN_IF_CUDA(cudaEventRecord(on.forked, on.first), "starting the second track");
  RESNET_RETURN_IF_CUDA(cudaStreamWaitEvent(on.second, on.forked, 0), "starting the second track");
  // In turns, so that without a graph neither stream runs dry while the host fills the other.
  for (size_t i = 0; i < count; ++i) {
    if (lead + i < count) RESNET_RETURN_IF_ERROR(run(*this, lead + i, arena, on.first, control));
    RESNET_RETURN_IF_ERROR(run(*this, i, arena + trackBytes, on.second, control));
  }
  RESNET_RETURN_IF_CUDA(cudaEventRecord(on.joined, on.second), "joining the tracks");
  RESNET_RETURN_IF_CUDA(cudaStreamWaitEvent(on.first, on.joined, 0), "joining the tracks");
  return Status::okay();
}

bool Schedule::canAlternate() const {
  return std::any_of(operations.begin(), operations.end(), [](const Operation& operation) {
    return operation.order == ImageOrder::kReverse;
  });
}

}  // namespace resnet::cuda
