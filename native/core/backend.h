// The contract that every device implements: Backend compiles a Plan and Weights into an immutable
// Program; a Program makes Lanes; a Lane runs submissions.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/control.h"
#include "core/plan.h"
#include "core/status.h"
#include "core/weights.h"

namespace resnet {

enum class Float32Precision { kHighest, kHigh, kTf32 };

struct CompileOptions {
  int maxBatch = 1;
  int threads = 0;  // 0: what affinity and cgroup quota allow
  Float32Precision precision = Float32Precision::kHigh;
  std::string isa;  // "", "portable", "avx2", "avx512"; "" reads RESNET_ISA, then takes the best
};

// One caller's share of a batch: `images` consecutive images at `data`, dense in the step's layout.
struct InputPiece {
  const void* data = nullptr;
  int images = 0;
};
struct OutputPiece {
  void* data = nullptr;
  int images = 0;
};
// inputs[i] are the pieces of the plan's input i; the images of every list add up to `batch`.
struct Submission {
  int batch = 0;
  std::vector<std::vector<InputPiece>> inputs;
  std::vector<std::vector<OutputPiece>> outputs;
};

// One row of explain(): a segment, how it runs, and what it costs.
struct ExplainRow {
  std::string step, kind, implementation;
  std::vector<std::string> refused;  // "winograd f4x4: stride 2"
  double flop = 0;                   // per image; a multiply-add counts 2
  double bytes = 0;                  // per image: each tensor once, weights included
  double milliseconds = 0;           // of the last profiled run; 0 when not profiled
};

class Lane {
 public:
  virtual ~Lane() = default;  // waits for what was submitted
  // Returns at once, allocates nothing of its own; `done` is called once, on a thread of the
  // backend, and must not block. Submissions to one lane run one after another. Memory in
  // `submission` is borrowed until done. control is polled between segments: a stopped run ends in
  // Status::aborted().
  virtual void submit(Submission submission, std::shared_ptr<const Control> control,
                      std::function<void(Status)> done) = 0;
};

class Program {
 public:
  virtual ~Program() = default;
  virtual Result<std::unique_ptr<Lane>> createLane() const = 0;  // allocates the arena
  virtual std::vector<ExplainRow> explain() const = 0;
  virtual size_t arenaBytes() const = 0;   // of one lane
  virtual size_t weightBytes() const = 0;  // packed, as referenced by this program
  virtual int threads() const = 0;
  virtual const char* isa() const = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual Result<std::shared_ptr<const Program>> compile(const Plan& plan,
                                                         std::shared_ptr<const Weights> weights,
                                                         const CompileOptions& options,
                                                         const Control& control) = 0;
};

}  // namespace resnet
