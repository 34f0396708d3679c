#include "cuda/program.h"

#include "core/roofline.h"
#include "cuda/ceilings.h"
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
  device_->countProcess();
  return std::unique_ptr<Lane>(std::move(lane));
}

Status CudaProgram::enqueueBody(std::byte* arena, const TrackStreams& on,
                                const Control* control) const {
  std::lock_guard lock(enqueueMutex_);
  return schedule_.enqueue(arena, on, control);
}

void CudaProgram::refuseGraph(const std::string& reason) const {
  std::lock_guard lock(refusalMutex_);
  graphRefusal_ = reason;
}

// Of each step, then of the batch as a whole.
std::vector<ExplainRow> CudaProgram::explain() const {
  std::vector<ExplainRow> rows;
  ExplainRow batch = explainSchedule();
  const bool tf32 = options_.precision == Float32Precision::kTf32;
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const Step& step = plan_.steps[s];
    const StepCost cost = stepCost(plan_, step);
    const Choice& choice = schedule_.choices[s];
    rows.push_back(
        {step.name, stepKindName(step.kind), choice.implementation, choice.refused, cost.flop,
         cost.bytes, choice.milliseconds, double(choice.workspaceBytes),
         leastMilliseconds(plan_, step, schedule_.images, tf32, device_->info().ceilings)});
    batch.flop += cost.flop;
    batch.bytes += cost.bytes;
    if (step.kind != StepKind::kInput && step.kind != StepKind::kOutput)
      batch.ceilingMilliseconds += schedule_.tracks * rows.back().ceilingMilliseconds;
  }
  rows.push_back(std::move(batch));
  return rows;
}

ExplainRow CudaProgram::explainSchedule() const {
  ExplainRow row{"batch", "schedule"};
  row.implementation =
      schedule_.tracks == 1
          ? "one track"
          : "two tracks of " + std::to_string(schedule_.images) + " images, the second from step " +
                *schedule_.operations[schedule_.lead % schedule_.operations.size()].step +
                " of the first";
  row.implementation += schedule_.alternates ? ", images alternating" : ", images forward";
  row.refused = scheduleRefused_;
  row.milliseconds = scheduleMilliseconds_;
  std::lock_guard lock(refusalMutex_);
  const bool graph = options_.graphs && graphRefusal_.empty();
  row.implementation += graph ? ", one CUDA graph" : ", launched one by one";
  if (!graphRefusal_.empty()) row.refused.push_back("CUDA graph: " + graphRefusal_);
  return row;
}

}  // namespace resnet::cuda
