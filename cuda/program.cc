#include "cuda/program.h"

#include "core/roofline.h"
#include "cuda/lane.h"

namespace resnet::cuda {

Status CudaProgram::open() {
  auto context = makeCudnnContext();
  if (!context.ok()) return device_->note(context.takeStatus());
  cudnn_ = context.take();
  return Status::okay();
}

Result<std::unique_ptr<Lane>> CudaProgram::createLane() const {
  auto lane = std::make_unique<CudaLane>(shared_from_this());
  RESNET_RETURN_IF_ERROR(device_->note(lane->start()));
  return std::unique_ptr<Lane>(std::move(lane));
}

Status CudaProgram::enqueueBody(std::byte* arena, cudaStream_t stream,
                                const Control* control) const {
  std::lock_guard lock(enqueueMutex_);
  for (const Operation& operation : operations_) {
    if (control != nullptr && control->stop()) return Status::aborted();
    Status status = operation.enqueue(arena, stream);
    if (!status.ok()) return std::move(status).at(*operation.step);
  }
  return Status::okay();
}

void CudaProgram::refuseGraph(const std::string& reason) const {
  std::lock_guard lock(refusalMutex_);
  graphRefusal_ = reason;
}

std::vector<ExplainRow> CudaProgram::explain() const {
  std::vector<ExplainRow> rows;
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const StepCost cost = stepCost(plan_, plan_.steps[s]);
    const Choice& choice = choices_[s];
    rows.push_back({plan_.steps[s].name, stepKindName(plan_.steps[s].kind), choice.implementation,
                    choice.refused, cost.flop, cost.bytes, choice.milliseconds});
  }
  std::lock_guard lock(refusalMutex_);
  if (!graphRefusal_.empty()) rows.front().refused.push_back("CUDA graph: " + graphRefusal_);
  return rows;
}

}  // namespace resnet::cuda
