// Candidates and kernels: every way to run a step on the CPU sits behind these two types.
//
// compile: for each step the backend asks the candidates of the chosen ISA in order of preference;
// the first that supports the step makes the Kernel, the refusals are kept for explain(). Before
// that, every candidate states the input halo it needs, which fixes the values' layouts. run: each
// of T threads calls Kernel::run with its own Work; the executor puts a barrier after it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/backend.h"
#include "cpu/isa.h"
#include "cpu/layout.h"

namespace resnet::cpu {

// What a candidate may look at to decide. Shapes only: layouts are not fixed yet.
struct StepQuery {
  const Plan& plan;
  const Step& step;
  Isa isa = Isa::kPortable;
  int threads = 1;
  int batch = 1;  // images that one run of the kernel sees (the chunk of its phase)
  Float32Precision precision = Float32Precision::kHigh;

  const ValueInfo& value(ValueId id) const { return plan.values[id]; }
};

// What make() gets on top: layouts are fixed now.
struct MakeContext {
  StepQuery query;
  const std::vector<Layout>& layouts;  // by ValueId
  const Weights& weights;

  const Layout& layout(ValueId id) const { return layouts[id]; }
};

struct Work {
  int thread = 0, threads = 1;
  int images = 1;               // of this chunk
  int firstImage = 0;           // of the chunk in the submission (border steps need it)
  const View* views = nullptr;  // by ValueId, at the chunk's first image
  const Submission* submission = nullptr;
  float* scratch = nullptr;  // this thread's own, Kernel::scratchFloats() long, 64-byte aligned

  const View& view(ValueId id) const { return views[id]; }
};

// A step bound to its packed parameters. Immutable: any number of lanes may run it.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run(const Work& work) const noexcept = 0;
  virtual size_t scratchFloats() const { return 0; }  // per thread
  virtual size_t weightBytes() const { return 0; }
};

// What a candidate asks of a value that its step reads.
struct InputWish {
  bool thin = false;  // granted only if every reader of the value wishes it
  int halo = 0;       // the value gets the largest halo that any reader wishes
};

class Candidate {
 public:
  virtual ~Candidate() = default;
  virtual const char* name() const = 0;
  // Empty: supported. Otherwise the reason why not ("stride 2").
  virtual std::string refuse(const StepQuery& query) const = 0;
  virtual InputWish wish(const StepQuery&) const { return {}; }
  // Whether the output may be the very memory of `input` (same layout is checked by the backend).
  virtual bool mayAlias(const StepQuery&, ValueId /*input*/) const { return false; }
  virtual Result<std::unique_ptr<Kernel>> make(const MakeContext& context) const = 0;
};

// In order of preference. Defined by candidates.cc from one list per step kind.
const std::vector<const Candidate*>& candidatesFor(StepKind kind);

// [begin, end) of `count` equal shares, share `index` of `shares`; deterministic.
struct Range {
  int begin, end;
};
inline Range shareOf(int count, int index, int shares) {
  auto cut = [&](int i) { return int(int64_t(count) * i / shares); };
  return {cut(index), cut(index + 1)};
}

}  // namespace resnet::cpu
