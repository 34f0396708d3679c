// The contract that every device implements: Backend compiles a Plan and Weights into an immutable
// Program; a Program makes Lanes; a Lane runs submissions.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/control.h"
#include "core/plan.h"
#include "core/status.h"
#include "core/weights.h"

namespace resnet {

enum class Float32Precision { kHighest, kHigh, kTf32 };

// How hard a backend that can choose looks for the fastest engines.
enum class Autotune { kOff, kQuick, kFull };  // kOff: a fixed order of preference, unmeasured

// In which order kernels take the images of a batch: all forward, or each against what it reads.
enum class TileOrder { kAuto, kForward, kAlternate };

struct CompileOptions {
  int maxBatch = 1;
  int threads = 0;  // 0: what affinity and cgroup quota allow
  Float32Precision precision = Float32Precision::kHigh;
  std::string isa;  // "", "portable", "avx2", "avx512"; "" reads RESNET_ISA, then takes the best

  // The rest is read by devices with memory and engines of their own.
  bool deterministic = false;  // bit-identical from run to run: implies kOff
  Autotune autotune = Autotune::kQuick;
  bool graphs = true;                         // capture a batch into one launch
  size_t workspaceLimit = size_t{256} << 20;  // bytes of scratch that one engine may ask for
  std::string engineCache;                    // folder; empty: none
  // Halves of a batch that run side by side: 1, 2, or 0 for whichever is measured to be faster. What is not
  // measured is one track, and forward.
  int tracks = 0;
  TileOrder tileOrder = TileOrder::kAuto;
};

// One caller's share of a batch: `images` consecutive images at `data`, dense in the step's layout.
// With `onDevice`, `data` lies in memory that allocate() of a backend of the same device gave. For a step
// that resizes it is one image, `data` the first pixel of the picture that is in the host's memory.
struct InputPiece {
  const void* data = nullptr;
  int images = 0;
  bool onDevice = false;
  std::optional<Picture> picture;
};
struct OutputPiece {
  void* data = nullptr;
  int images = 0;
  bool onDevice = false;
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
  double workspaceBytes = 0;         // scratch memory of the implementation
  double ceilingMilliseconds = 0;    // the least by the device's ceilings, of as many images as
                                     // `milliseconds`; 0 when they are not known
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
  virtual const char* isa() const = 0;  // of a GPU its compute capability: "sm_90"
};

// Memory of a backend's device in use, in bytes; zeros where the device is the host.
struct MemoryUse {
  size_t weights = 0, arenas = 0, tensors = 0, staging = 0, limit = 0;
  // Of all that this process has on the device, as the driver counted it when a program or a lane was last
  // made; 0 with the reason when it could not be asked.
  size_t process = 0;
  std::string processReason;
};

// Memory on a backend's device, freed with the last owner.
class DeviceBuffer {
 public:
  virtual ~DeviceBuffer() = default;
  virtual void* data() const = 0;
  virtual size_t bytes() const = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  // Device memory for tensors. Backends whose device is the host have none of their own.
  virtual Result<std::shared_ptr<DeviceBuffer>> allocate(size_t /*bytes*/) {
    return Status::error(Code::kUnsupported, "the CPU's tensors live in the host's memory");
  }
  // Blocking copies between host and device; call them off the JavaScript thread.
  virtual Status upload(DeviceBuffer& /*to*/, const void* /*from*/, size_t /*bytes*/) {
    return Status::error(Code::kUnsupported, "the CPU's tensors live in the host's memory");
  }
  virtual Status download(void* /*to*/, const DeviceBuffer& /*from*/, size_t /*bytes*/) {
    return Status::error(Code::kUnsupported, "the CPU's tensors live in the host's memory");
  }
  virtual MemoryUse memory() const { return {}; }
  virtual Result<std::shared_ptr<const Program>> compile(const Plan& plan,
                                                         std::shared_ptr<const Weights> weights,
                                                         const CompileOptions& options,
                                                         const Control& control) = 0;
};

}  // namespace resnet
