// A compiled plan on the CPU: kernels in step order, phases, arena. Immutable but for the profile.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "core/backend.h"
#include "cpu/kernel.h"
#include "cpu/schedule.h"
#include "cpu/thread_pool.h"

namespace resnet::cpu {

struct CompiledStep {
  std::string name;
  std::string implementation;
  std::vector<std::string> refused;
  std::unique_ptr<Kernel> kernel;
};

class CpuProgram final : public Program, public std::enable_shared_from_this<CpuProgram> {
 public:
  CpuProgram(std::shared_ptr<ThreadPool> pool, Plan plan, Isa isa, int threads, int maxBatch)
      : pool_(std::move(pool)),
        plan_(std::move(plan)),
        isa_(isa),
        threads_(threads),
        maxBatch_(maxBatch) {}

  Result<std::unique_ptr<Lane>> createLane() const override;
  std::vector<ExplainRow> explain() const override;
  size_t arenaBytes() const override;
  size_t weightBytes() const override;
  int threads() const override { return threads_; }
  const char* isa() const override { return isaName(isa_); }

 private:
  friend class Compiler;
  friend class CpuLane;
  struct LaneState;

  std::shared_ptr<ThreadPool> pool_;
  Plan plan_;
  Isa isa_;
  int threads_, maxBatch_;
  mutable std::atomic<int> lanes_{0};  // alive
  std::vector<Layout> layouts_;
  std::vector<Phase> phases_;
  Arena arena_;
  std::vector<CompiledStep> steps_;
  size_t scratchFloats_ = 0;  // per thread, multiple of a cache line
  mutable std::vector<std::atomic<float>>
      milliseconds_;  // of the last run, per step, thread 0's clock
};

}  // namespace resnet::cpu
