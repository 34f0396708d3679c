#include "cuda/cudnn/race.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/plan.h"
#include "cuda/owners.h"

namespace resnet::cuda {
namespace {

constexpr size_t kMaxSets = 16;
constexpr int kMaxRuns = 64;           // in one captured graph
constexpr double kLongEnoughMs = 0.5;  // of one timing: a thousand times an event's resolution
constexpr double kBeaten = 1.5;        // times the best: not worth a second look
constexpr double kShortestMs = 1e-6;   // what was timed is never taken for what was not
constexpr int kFill = 0x3c;            // 1.06 in float16, 0.011 in the others: multiplying zeros
                                       // draws less power than a network does

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

// Where the tensors of one set lie.
struct SetLayout {
  std::array<size_t, 5> bytes{};  // input, weight, bias, residual, output

  explicit SetLayout(const ConvolutionShape& shape) {
    const size_t in = dtypeBytes(shape.dtype), out = dtypeBytes(shape.outputType);
    const auto p =
        windowOutputSize(shape.h, shape.kernelH, shape.strideH, shape.padH, shape.dilationH, false);
    const auto q =
        windowOutputSize(shape.w, shape.kernelW, shape.strideW, shape.padW, shape.dilationW, false);
    const auto pitch = [](int given, int dense) {
      return static_cast<size_t>(given ? given : dense);
    };
    const size_t n = static_cast<size_t>(shape.n), k = static_cast<size_t>(shape.k);
    const size_t pixelsIn = n * static_cast<size_t>(shape.h) * static_cast<size_t>(shape.w);
    const size_t pixelsOut = n * static_cast<size_t>(p) * static_cast<size_t>(q);
    const size_t taps = static_cast<size_t>(shape.kernelH) * static_cast<size_t>(shape.kernelW);
    bytes = {aligned(pixelsIn * pitch(shape.inputPitch, shape.c) * in),
             aligned(k * taps * static_cast<size_t>(shape.c / shape.groups) * in), aligned(k * in),
             shape.residual ? aligned(pixelsOut * pitch(shape.residualPitch, shape.k) * in) : 0,
             aligned(pixelsOut * pitch(shape.outputPitch, shape.k) * out)};
  }
  size_t total() const {
    size_t sum = 0;
    for (size_t part : bytes) sum += part;
    return sum;
  }
};

class Entrant {
 public:
  explicit Entrant(const ConvolutionEngine& engine) : engine_(&engine) {}
  const ConvolutionEngine& engine() const { return *engine_; }

  bool racing = true;
  int runs = 1;  // between two events
  GraphExecutable graph;
  Finish finish;

 private:
  const ConvolutionEngine* engine_;
};

class Track {
 public:
  Track(const ConvolutionShape& shape, cudaStream_t stream, const RaceOptions& options)
      : layout_(shape), residual_(shape.residual), stream_(stream), options_(options) {}

  // As many sets as cover the L2 cache twice; one when there is no memory for more.
  Status prepare(const AllocateDevice& allocate, size_t workspaceBytes) {
    int device = 0, l2 = 0;
    RESNET_RETURN_IF_CUDA(cudaGetDevice(&device), "asking for the device");
    RESNET_RETURN_IF_CUDA(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device),
                          "asking for the L2 cache's size");
    const size_t wanted = 2 * static_cast<size_t>(std::max(l2, 0)) / layout_.total() + 1;
    sets_ = std::clamp<size_t>(wanted, 2, kMaxSets);
    const size_t workspace = aligned(workspaceBytes);
    Result<std::shared_ptr<void>> memory = allocate(workspace + sets_ * layout_.total());
    if (!memory.ok() && memory.status().code == Code::kOutOfMemory) {
      sets_ = 1;
      memory = allocate(workspace + layout_.total());
    }
    if (!memory.ok()) return memory.takeStatus();
    memory_ = memory.take();
    sets0_ = static_cast<std::byte*>(memory_.get()) + workspace;
    RESNET_RETURN_IF_CUDA(cudaMemsetAsync(sets0_, kFill, sets_ * layout_.total(), stream_),
                          "filling the buffers of a race");
    for (Event* event : {&begin_, &end_})
      RESNET_RETURN_IF_CUDA(cudaEventCreateWithFlags(event->address(), cudaEventBlockingSync),
                            "creating an event");
    return Status::okay();
  }

  // The first run loads the kernel, the second says how often it must run to be timed.
  Status warmUp(Entrant& entrant) {
    RESNET_RETURN_IF_ERROR(enqueue(entrant, 1));
    RESNET_RETURN_IF_CUDA(cudaStreamSynchronize(stream_), "running an engine");
    Result<double> first = time(entrant);
    if (!first.ok()) return first.takeStatus();
    const double needed = std::ceil(kLongEnoughMs / std::max(first.value(), kShortestMs));
    entrant.runs = static_cast<int>(std::clamp(needed, 1.0, static_cast<double>(kMaxRuns)));
    // Every set once at least: an engine must not be timed from the cache because it is fast.
    entrant.runs = std::max(entrant.runs, static_cast<int>(sets_));
    return options_.graphs ? capture(entrant) : Status::okay();
  }

  // Milliseconds of one run.
  Result<double> time(Entrant& entrant) {
    float milliseconds = 0;
    RESNET_RETURN_IF_CUDA(cudaEventRecord(begin_, stream_), "timing an engine");
    if (entrant.graph != nullptr)
      RESNET_RETURN_IF_CUDA(cudaGraphLaunch(entrant.graph, stream_), "timing an engine");
    else
      RESNET_RETURN_IF_ERROR(enqueue(entrant, entrant.runs));
    RESNET_RETURN_IF_CUDA(cudaEventRecord(end_, stream_), "timing an engine");
    RESNET_RETURN_IF_CUDA(cudaEventSynchronize(end_), "timing an engine");
    RESNET_RETURN_IF_CUDA(cudaEventElapsedTime(&milliseconds, begin_, end_), "timing an engine");
    return std::max(double{milliseconds} / entrant.runs, kShortestMs);
  }

  // Nothing of an entrant that failed may still run, or be reported for the next one.
  void settle() {
    cudaStreamSynchronize(stream_);
    cudaGetLastError();
  }

 private:
  Status enqueue(const Entrant& entrant, int runs) {
    for (int run = 0; run < runs; ++run) {
      std::byte* at = sets0_ + next_++ % sets_ * layout_.total();
      ConvolutionBuffers buffers;
      buffers.workspace = memory_.get();
      buffers.input = at;
      buffers.weight = at += layout_.bytes[0];
      buffers.bias = at += layout_.bytes[1];
      at += layout_.bytes[2];
      if (residual_) buffers.residual = at;
      buffers.output = at + layout_.bytes[3];
      RESNET_RETURN_IF_ERROR(entrant.engine().enqueue(buffers, stream_));
    }
    return Status::okay();
  }

  Status capture(Entrant& entrant) {
    Graph graph;
    RESNET_RETURN_IF_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal),
                          "capturing an engine");
    const Status status = enqueue(entrant, entrant.runs);
    const cudaError_t ended = cudaStreamEndCapture(stream_, graph.address());
    RESNET_RETURN_IF_ERROR(status);
    RESNET_RETURN_IF_CUDA(ended, "capturing an engine");
    RESNET_RETURN_IF_CUDA(cudaGraphInstantiate(entrant.graph.address(), graph, 0),
                          "capturing an engine");
    return Status::okay();
  }

  const SetLayout layout_;
  const bool residual_;
  const cudaStream_t stream_;
  const RaceOptions& options_;
  std::shared_ptr<void> memory_;  // the workspace, then the sets
  std::byte* sets0_ = nullptr;
  size_t sets_ = 1, next_ = 0;
  Event begin_, end_;
};

class Race {
 public:
  Race(Track& track, std::vector<Entrant>& entrants, const RaceOptions& options)
      : track_(track), entrants_(entrants), options_(options) {}

  Status run() {
    for (Entrant& entrant : entrants_)
      RESNET_RETURN_IF_ERROR(turn(entrant, [&] { return track_.warmUp(entrant); }));
    // Rounds, not one engine after another: a clock that falls as the chip warms up falls for all.
    const int rounds = options_.effort == Autotune::kFull ? 5 : 2;
    for (int round = 0; round < rounds; ++round) {
      for (Entrant& entrant : entrants_)
        RESNET_RETURN_IF_ERROR(turn(entrant, [&] { return clock(entrant); }));
      leaveBeaten();
    }
    return Status::okay();
  }

 private:
  Status clock(Entrant& entrant) {
    const Result<double> time = track_.time(entrant);
    if (!time.ok()) return time.status();
    double& best = entrant.finish.milliseconds;
    // The shortest: everything that disturbs a timing makes it longer.
    best = best == 0 ? time.value() : std::min(best, time.value());
    return Status::okay();
  }

  // What goes wrong in an entrant's turn ends its race, unless it ends everybody's.
  template <typename Body>
  Status turn(Entrant& entrant, const Body& body) {
    if (!entrant.racing) return Status::okay();
    if (options_.control != nullptr && options_.control->stop()) return Status::aborted();
    Status status = body();
    if (status.ok()) return status;
    track_.settle();
    if (status.code == Code::kDeviceLost) return status;
    entrant.racing = false;
    entrant.finish = {0, std::move(status.message)};
    return Status::okay();
  }

  void leaveBeaten() {
    double best = 0;
    for (const Entrant& entrant : entrants_)
      if (entrant.racing && (best == 0 || entrant.finish.milliseconds < best))
        best = entrant.finish.milliseconds;
    for (Entrant& entrant : entrants_)
      if (entrant.finish.milliseconds > kBeaten * best) entrant.racing = false;
  }

  Track& track_;
  std::vector<Entrant>& entrants_;
  const RaceOptions& options_;
};

}  // namespace

Result<Standings> race(const ConvolutionShape& shape,
                       const std::vector<std::shared_ptr<const ConvolutionEngine>>& engines,
                       const AllocateDevice& allocate, cudaStream_t stream,
                       const RaceOptions& options) {
  std::vector<Entrant> entrants;
  size_t workspace = 0;
  for (const auto& engine : engines) {
    entrants.emplace_back(*engine);
    workspace = std::max(workspace, engine->workspaceBytes());
  }
  Track track(shape, stream, options);
  Status status = track.prepare(allocate, workspace);
  if (status.ok()) status = Race(track, entrants, options).run();
  track.settle();  // before the memory goes
  if (!status.ok()) return status;

  Standings standings;
  bool finished = false;
  std::string reasons;
  for (Entrant& entrant : entrants) {
    const size_t index = standings.finishes.size();
    standings.finishes.push_back(std::move(entrant.finish));
    const Finish& finish = standings.finishes.back();
    if (!finish.refused.empty()) {
      reasons += "\n  " + engines[index]->name() + ": " + finish.refused;
      continue;
    }
    if (!finished || finish.milliseconds < standings.finishes[standings.best].milliseconds)
      standings.best = index;
    finished = true;
  }
  if (!finished)
    return Status::error(Code::kUnsupported, "every engine for \"" + shapeText(shape) +
                                                 "\" failed when it ran:" + reasons);
  return standings;
}

}  // namespace resnet::cuda
