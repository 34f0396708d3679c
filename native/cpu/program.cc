#include "cpu/program.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "core/roofline.h"
#include "cpu/memory.h"
#include "cpu/placement.h"

namespace resnet::cpu {
// What runs: the pool's job of a lane. It outlives the Lane until its last finish() has returned,
// and must not own the pool: its last reference may be dropped on a thread of the pool, which
// cannot join itself.
struct CpuProgram::LaneState final : ThreadPool::Job {
  struct Pending {
    Submission submission;
    std::shared_ptr<const Control> control;
    std::function<void(Status)> done;
  };

  LaneState(const CpuProgram& owner, std::shared_ptr<float> memory)
      : program(&owner),
        pool(owner.pool_.get()),
        arena(std::move(memory)),
        barrier(owner.threads_),
        placement(owner.threads_) {
    threads = owner.threads_;
    views.resize(size_t(threads) * owner.plan_.values.size());
  }

  void body(int thread) noexcept override;
  void finish() noexcept override;
  void runSteps(int thread) noexcept;

  const CpuProgram* program;
  ThreadPool* pool;
  std::shared_ptr<float> arena;
  Barrier barrier;
  Placement placement;
  std::vector<View> views;      // one set per thread: no sharing, no allocation in a run
  std::atomic<int> stopAt{-1};  // index of the barrier after which every thread leaves

  std::shared_ptr<LaneState> self;  // while a run is in flight
  Pending current;
  std::mutex mutex;  // guards the rest
  std::condition_variable idle;
  bool busy = false;
  std::deque<Pending> pending;
};

void CpuProgram::LaneState::body(int thread) noexcept {
  placement.keepApart(thread);
  runSteps(thread);
  placement.leave(thread);
}

void CpuProgram::LaneState::runSteps(int thread) noexcept {
  const Plan& plan = program->plan_;
  const size_t valueCount = plan.values.size();
  View* view = views.data() + thread * valueCount;
  float* scratchBase = arena.get() + program->arena_.bytes / sizeof(float);

  Work work;
  work.thread = thread;
  work.threads = threads;
  work.views = view;
  work.submission = &current.submission;
  work.scratch = scratchBase + thread * program->scratchFloats_;

  using Clock = std::chrono::steady_clock;
  int barrierIndex = 0;
  for (const Phase& phase : program->phases_) {
    for (int first = 0; first < current.submission.batch; first += phase.chunk) {
      work.firstImage = first;
      work.images = std::min(phase.chunk, current.submission.batch - first);
      for (size_t v = 0; v < valueCount; ++v) {
        const ValueMemory& memory = program->arena_.values[v];
        float* base = arena.get() + memory.offset / sizeof(float);
        view[v] = {base + (memory.wholeBatch ? size_t(first) * memory.imageFloats : 0),
                   memory.imageFloats, &program->layouts_[v]};
      }
      for (int s = phase.firstStep; s < phase.endStep; ++s) {
        const Clock::time_point begin = thread == 0 ? Clock::now() : Clock::time_point{};
        program->steps_[s].kernel->run(work);
        // Thread 0 decides, before the barrier, where all threads leave: they must agree, or one
        // waits for ever.
        if (thread == 0 && current.control != nullptr && current.control->stop())
          stopAt.store(barrierIndex);
        if (barrier.wait()) {
          placement.keepApart(thread);
        } else {
          placement.followMoves(thread);
        }
        if (thread == 0) {
          const float ms = std::chrono::duration<float, std::milli>(Clock::now() - begin).count();
          auto& total = program->milliseconds_[s];
          total.store(first == 0 ? ms : total.load(std::memory_order_relaxed) + ms,
                      std::memory_order_relaxed);
        }
        if (stopAt.load() == barrierIndex) return;
        ++barrierIndex;
      }
    }
  }
}

void CpuProgram::LaneState::finish() noexcept {
  const bool stopped = stopAt.exchange(-1) >= 0;
  std::function<void(Status)> done = std::move(current.done);
  current = {};
  done(stopped ? Status::aborted() : Status::okay());
  done = nullptr;

  std::shared_ptr<LaneState> keep;
  std::unique_lock lock(mutex);
  if (pending.empty()) {
    busy = false;
    keep =
        std::move(self);  // declared before the lock, so released after it: it may free this object
    idle.notify_all();
    return;
  }
  current = std::move(pending.front());
  pending.pop_front();
  lock.unlock();
  pool->submit(this);
}

class CpuLane final : public Lane {
 public:
  CpuLane(std::shared_ptr<const CpuProgram> program, std::shared_ptr<CpuProgram::LaneState> state)
      : program_(std::move(program)), state_(std::move(state)) {}

  ~CpuLane() override {
    {
      std::unique_lock lock(state_->mutex);
      state_->idle.wait(lock, [&] { return !state_->busy; });
    }
    program_->lanes_.fetch_sub(1);
  }

  void submit(Submission submission, std::shared_ptr<const Control> control,
              std::function<void(Status)> done) override {
    CpuProgram::LaneState::Pending work{std::move(submission), std::move(control), std::move(done)};
    {
      std::lock_guard lock(state_->mutex);
      if (state_->busy) {
        state_->pending.push_back(std::move(work));
        return;
      }
      state_->busy = true;
      state_->self = state_;
      state_->current = std::move(work);
    }
    program_->pool_->submit(state_.get());
  }

 private:
  std::shared_ptr<const CpuProgram> program_;
  std::shared_ptr<CpuProgram::LaneState> state_;
};

size_t CpuProgram::arenaBytes() const {
  return arena_.bytes + size_t(threads_) * scratchFloats_ * sizeof(float);
}

size_t CpuProgram::weightBytes() const {
  size_t bytes = 0;
  for (const CompiledStep& step : steps_) bytes += step.kernel->weightBytes();
  return bytes;
}

Result<std::unique_ptr<Lane>> CpuProgram::createLane() const {
  std::shared_ptr<float> arena = allocateFloats(arenaBytes() / sizeof(float));
  if (arena == nullptr) {
    return Status::error(Code::kOutOfMemory,
                         "no memory left for the activations: " + std::to_string(arenaBytes()) +
                             " bytes; lower maxBatch or the input size");
  }
  auto state = std::make_shared<LaneState>(*this, std::move(arena));
  // Lanes run side by side only on threads of their own.
  Status reserved = pool_->reserve(threads_ * (lanes_.fetch_add(1) + 1));
  if (!reserved.ok()) {
    lanes_.fetch_sub(1);
    return reserved;
  }
  return std::unique_ptr<Lane>(std::make_unique<CpuLane>(shared_from_this(), std::move(state)));
}

std::vector<ExplainRow> CpuProgram::explain() const {
  std::vector<ExplainRow> rows;
  for (size_t s = 0; s < steps_.size(); ++s) {
    const StepCost cost = stepCost(plan_, plan_.steps[s]);
    rows.push_back({steps_[s].name, stepKindName(plan_.steps[s].kind), steps_[s].implementation,
                    steps_[s].refused, cost.flop, cost.bytes,
                    milliseconds_[s].load(std::memory_order_relaxed)});
  }
  return rows;
}

}  // namespace resnet::cpu
