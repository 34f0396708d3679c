// Plan to program: choose a candidate for every step, fix layouts, lay out the arena, pack the
// weights.
#include <algorithm>
#include <atomic>

#include "cpu/backend.h"
#include "cpu/program.h"

namespace resnet::cpu {

class Compiler {
 public:
  Compiler(CpuProgram& program, const Weights& weights, const CompileOptions& options,
           const Control& control)
      : program_(program),
        weights_(weights),
        options_(options),
        control_(control),
        plan_(program.plan_) {}

  Status run() {
    for (const ValueInfo& value : plan_.values) {
      if (value.dtype != DType::kFloat32 && value.dtype != DType::kInt32)
        return Status::error(Code::kUnsupported,
                             std::string("the CPU computes in float32, value '") + value.name +
                                 "' of the plan is " + dtypeName(value.dtype) +
                                 "; use dtype 'float32' or a CUDA device");
    }
    program_.phases_ = planPhases(plan_, program_.maxBatch_);
    program_.steps_.resize(plan_.steps.size());
    program_.milliseconds_ = std::vector<std::atomic<float>>(plan_.steps.size());
    chosen_.assign(plan_.steps.size(), nullptr);
    chunkOf_.resize(plan_.steps.size());
    for (const Phase& phase : program_.phases_) {
      for (int s = phase.firstStep; s < phase.endStep; ++s) chunkOf_[s] = phase.chunk;
    }
    for (int s = 0; s < int(plan_.steps.size()); ++s)
      RESNET_RETURN_IF_ERROR(choose(s, /*thinRefused=*/false));
    RESNET_RETURN_IF_ERROR(fixLayouts());
    program_.arena_ =
        planArena(plan_, program_.phases_, program_.layouts_, aliases(), program_.maxBatch_);
    return makeKernels();
  }

 private:
  StepQuery query(int s) const {
    return {plan_,       plan_.steps[s],    program_.isa_, program_.threads_,
            chunkOf_[s], options_.precision};
  }

  Status choose(int s, bool thinRefused) {
    const Step& step = plan_.steps[s];
    CompiledStep& compiled = program_.steps_[s];
    compiled.name = step.name;
    compiled.refused.clear();
    const StepQuery q = query(s);
    for (const Candidate* candidate : candidatesFor(step.kind)) {
      std::string reason = candidate->refuse(q);
      if (reason.empty() && thinRefused && candidate->wish(q).thin)
        reason = "its input has another reader";
      if (reason.empty()) {
        chosen_[s] = candidate;
        compiled.implementation = candidate->name();
        return Status::okay();
      }
      compiled.refused.push_back(std::string(candidate->name()) + ": " + reason);
    }
    std::string message =
        std::string("no CPU implementation takes this ") + stepKindName(step.kind) + " step";
    for (const std::string& refusal : compiled.refused) message += "; " + refusal;
    return Status::error(Code::kUnsupported, message).at(step.name);
  }

  // A value is thin if the input step writes it and every reader wishes so; otherwise those readers
  // choose again.
  Status fixLayouts() {
    const size_t count = plan_.values.size();
    std::vector<bool> thin(count, false), written(count, false);
    std::vector<int> halo(count, 0);
    for (const Step& step : plan_.steps) {
      if (step.kind == StepKind::kInput) thin[stepOutputs(step)[0]] = true;
    }
    for (int s = 0; s < int(plan_.steps.size()); ++s) {
      for (ValueId v : stepInputs(plan_.steps[s])) {
        if (!wishFor(s, v).thin) thin[v] = false;
      }
    }
    for (int s = 0; s < int(plan_.steps.size()); ++s) {
      const std::vector<ValueId> inputs = stepInputs(plan_.steps[s]);
      if (!inputs.empty() && wishFor(s, inputs[0]).thin && !thin[inputs[0]]) {
        RESNET_RETURN_IF_ERROR(choose(s, /*thinRefused=*/true));
      }
      for (ValueId v : inputs) halo[v] = std::max(halo[v], wishFor(s, v).halo);
    }
    program_.layouts_.resize(count);
    for (size_t v = 0; v < count; ++v) {
      const ValueInfo& info = plan_.values[v];
      program_.layouts_[v] = {thin[v], info.h, info.w, info.c, halo[v]};
    }
    return Status::okay();
  }

  // A wish concerns a step's main input; a residual is read as it lies.
  InputWish wishFor(int s, ValueId v) const {
    return stepInputs(plan_.steps[s])[0] == v ? chosen_[s]->wish(query(s)) : InputWish{};
  }

  std::vector<ValueId> aliases() const {
    std::vector<ValueId> result(plan_.values.size(), kNoValue);
    for (int s = 0; s < int(plan_.steps.size()); ++s) {
      const std::vector<ValueId> outputs = stepOutputs(plan_.steps[s]);
      if (outputs.size() != 1) continue;
      const Layout& out = program_.layouts_[outputs[0]];
      for (ValueId v : stepInputs(plan_.steps[s])) {
        const Layout& in = program_.layouts_[v];
        const bool sameLayout = in.thin == out.thin && in.halo == out.halo && in.h == out.h &&
                                in.w == out.w && in.c == out.c;
        if (sameLayout && chosen_[s]->mayAlias(query(s), v)) result[outputs[0]] = v;
      }
    }
    return result;
  }

  // Reads, folds and packs on all of the program's threads; the first failure in step order wins.
  Status makeKernels() {
    std::vector<Status> failures(plan_.steps.size());
    std::atomic<int> next{0};
    std::atomic<bool> failed{false};
    program_.pool_->runAndWait(program_.threads_, [&](int) {
      for (int s = next.fetch_add(1); s < int(plan_.steps.size()); s = next.fetch_add(1)) {
        if (failed.load(std::memory_order_relaxed)) return;
        failures[s] = control_.stop() ? Status::aborted() : makeKernel(s);
        if (!failures[s].ok()) failed.store(true);
      }
    });
    for (Status& failure : failures) {
      if (!failure.ok()) return std::move(failure);
    }
    for (const CompiledStep& step : program_.steps_) {
      program_.scratchFloats_ = std::max(program_.scratchFloats_, step.kernel->scratchFloats());
    }
    // Whole cache lines, so that every thread's part stays aligned.
    program_.scratchFloats_ = ceilDiv(program_.scratchFloats_, kBlock) * kBlock;
    return Status::okay();
  }

  Status makeKernel(int s) noexcept {
    try {  // std::vector and std::map report a lack of memory by throwing
      auto kernel = chosen_[s]->make({query(s), program_.layouts_, weights_});
      if (!kernel.ok()) return kernel.takeStatus().at(plan_.steps[s].name);
      program_.steps_[s].kernel = kernel.take();
      return Status::okay();
    } catch (const std::bad_alloc&) {
      return Status{Code::kOutOfMemory, "no memory left to pack the weights of this step",
                    plan_.steps[s].name};
    }
  }

  CpuProgram& program_;
  const Weights& weights_;
  const CompileOptions& options_;
  const Control& control_;
  const Plan& plan_;
  std::vector<const Candidate*> chosen_;
  std::vector<int> chunkOf_;
};

namespace {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(std::shared_ptr<ThreadPool> pool) : pool_(std::move(pool)) {}

  Result<std::shared_ptr<const Program>> compile(const Plan& plan,
                                                 std::shared_ptr<const Weights> weights,
                                                 const CompileOptions& options,
                                                 const Control& control) override {
    constexpr int kMaxThreads = 1024, kMaxBatch = 65536;
    if (options.threads < 0 || options.threads > kMaxThreads) {
      return Status::error(
          Code::kInvalidArgument,
          "threads must be from 0 (automatic) to 1024, got " + std::to_string(options.threads));
    }
    if (options.maxBatch < 1 || options.maxBatch > kMaxBatch) {
      return Status::error(Code::kInvalidArgument, "maxBatch must be from 1 to 65536, got " +
                                                       std::to_string(options.maxBatch));
    }
    if (options.precision == Float32Precision::kTf32) {
      return Status::error(
          Code::kUnsupported,
          "float32Precision 'tf32' needs a CUDA device; use 'high' or 'highest' on the CPU");
    }
    auto isa = chooseIsa(options.isa);
    if (!isa.ok()) return isa.takeStatus();
    const int threads = options.threads == 0 ? threadBudget().threads : options.threads;
    RESNET_RETURN_IF_ERROR(pool_->reserve(threads));
    auto program =
        std::make_shared<CpuProgram>(pool_, plan, isa.value(), threads, options.maxBatch);
    RESNET_RETURN_IF_ERROR(Compiler(*program, *weights, options, control).run());
    return std::shared_ptr<const Program>(std::move(program));
  }

 private:
  std::shared_ptr<ThreadPool> pool_;
};

}  // namespace

std::shared_ptr<Backend> makeCpuBackend(std::shared_ptr<ThreadPool> pool) {
  return std::make_shared<CpuBackend>(std::move(pool));
}

}  // namespace resnet::cpu
