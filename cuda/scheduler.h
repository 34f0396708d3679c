// How a program's batches run: as one track or as two halves side by side, with images all forward or
// alternating. What the options leave open is measured, where measuring is allowed.
#pragma once

#include "cuda/program.h"
#include "cuda/workshop.h"

namespace resnet::cuda {

class Scheduler {
 public:
  // `program` has its plan, device, options and cuDNN context.
  Scheduler(CudaProgram& program, const Weights& weights, const Control& control)
      : program_(program), weights_(weights), control_(control) {}
  Status run();

 private:
  enum class Halving { kNever, kAlways, kMeasured };
  Halving halving();
  Result<Schedule> compile(int images, int tracks);
  Status measure(std::vector<Schedule>& candidates);
  void decide(std::vector<Schedule>& candidates, const std::vector<double>& milliseconds);
  std::string question() const;
  std::string describe(const Schedule& schedule) const;
  Status timeKernels();

  CudaProgram& program_;
  const Weights& weights_;
  const Control& control_;
  Workshop workshop_;
  // Every way that was to be measured could be: the answer holds for the next start too.
  bool settled_ = true;
};

}  // namespace resnet::cuda
