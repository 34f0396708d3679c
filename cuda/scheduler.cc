#include "cuda/scheduler.h"

#include <algorithm>
#include <cstdio>

#include "cuda/compiler.h"
#include "cuda/stopwatch.h"

namespace resnet::cuda {
namespace {

// Below twice this a batch is too small to be halved: kernels of a half would leave much of the device idle.
constexpr int kLeastTrackImages = 32;
constexpr int kFill = 0x3c;  // as in the engines' race: multiplying zeros draws less power

std::string timed(const std::string& what, double milliseconds) {
  char text[48];
  std::snprintf(text, sizeof text, ": %.4f ms", milliseconds);
  return what + text;
}

// Where the second track begins: the first has done half of what all operations weigh.
size_t leadOf(const std::vector<Operation>& operations) {
  double all = 0, done = 0;
  for (const Operation& operation : operations) all += operation.least;
  for (size_t i = 0; i < operations.size(); ++i) {
    if (all == 0 ? 2 * i >= operations.size() : 2 * done >= all) return i;
    done += operations[i].least;
  }
  return operations.size();
}

}  // namespace

Scheduler::Halving Scheduler::halving() {
  const CompileOptions& options = program_.options_;
  std::vector<std::string>& refused = program_.scheduleRefused_;
  if (options.tracks == 1) return Halving::kNever;
  if (options.maxBatch < 2) {
    if (options.tracks == 2) refused.push_back("two tracks: a batch of one image has no halves");
    return Halving::kNever;
  }
  if (options.tracks == 2) return Halving::kAlways;
  if (options.maxBatch < 2 * kLeastTrackImages) {
    refused.push_back("two tracks: not tried below batches of " +
                      std::to_string(2 * kLeastTrackImages));
    return Halving::kNever;
  }
  if (!workshop_.measures()) {
    refused.push_back("two tracks: nothing is measured with autotune 'off' or deterministic");
    return Halving::kNever;
  }
  return Halving::kMeasured;
}

Status Scheduler::run() {
  const CompileOptions& options = program_.options_;
  RESNET_RETURN_IF_ERROR(workshop_.open(*program_.device_, options, control_));
  Halving halve = halving();
  const bool measuresOrder =
      options.tileOrder == TileOrder::kAuto && workshop_.measures() && options.maxBatch > 1;
  std::optional<StoredChoice> stored;
  if (workshop_.cache && (halve == Halving::kMeasured || measuresOrder))
    stored = workshop_.cache->load(question());
  bool known = stored && stored->engine.size() == 2;
  if (known && halve == Halving::kMeasured)
    halve = stored->engine[0] == '2' ? Halving::kAlways : Halving::kNever;

  std::vector<Schedule> candidates;
  if (halve != Halving::kAlways) {
    auto whole = compile(options.maxBatch, 1);
    if (!whole.ok()) return whole.takeStatus();
    candidates.push_back(whole.take());
  }
  if (halve != Halving::kNever) {
    auto halves = compile((options.maxBatch + 1) / 2, 2);
    const Code code = halves.ok() ? Code::kOk : halves.status().code;
    if (halves.ok()) {
      candidates.push_back(halves.take());
    } else if (options.tracks == 2 || (code != Code::kUnsupported && code != Code::kOutOfMemory)) {
      return halves.takeStatus();
    } else {
      program_.scheduleRefused_.push_back("two tracks: " + halves.status().message);
      if (code == Code::kOutOfMemory) settled_ = false;
    }
  }
  if (candidates.empty()) {  // two tracks are remembered, with their time, and cannot be had now
    known = false;
    auto whole = compile(options.maxBatch, 1);
    if (!whole.ok()) return whole.takeStatus();
    candidates.push_back(whole.take());
  }
  if (known) {
    for (Schedule& candidate : candidates)
      candidate.alternates =
          measuresOrder ? stored->engine[1] == 'a' : options.tileOrder == TileOrder::kAlternate;
    program_.scheduleMilliseconds_ = stored->milliseconds;
    for (std::string& reason : stored->refused)
      program_.scheduleRefused_.push_back(std::move(reason));
    program_.schedule_ = std::move(candidates.front());
    return timeKernels();
  }
  const size_t forward = candidates.size();
  for (size_t i = 0; i < forward; ++i) {
    candidates[i].alternates = options.tileOrder == TileOrder::kAlternate;
    if (!measuresOrder || !candidates[i].canAlternate()) continue;
    candidates.push_back(candidates[i]);
    candidates.back().alternates = true;
  }
  if (candidates.size() > 1) {
    RESNET_RETURN_IF_ERROR(measure(candidates));
  } else {
    program_.schedule_ = std::move(candidates.front());
  }
  return timeKernels();
}

Result<Schedule> Scheduler::compile(int images, int tracks) {
  Schedule schedule;
  schedule.images = images;
  schedule.tracks = tracks;
  RESNET_RETURN_IF_ERROR(Compiler(program_, schedule, workshop_, weights_, control_).run());
  // An engine that memory was too short to race for may be another one at the next start.
  for (size_t s = 0; s < schedule.choices.size(); ++s) {
    const StepKind kind = program_.plan_.steps[s].kind;
    const bool raced = kind == StepKind::kConv || kind == StepKind::kLinear;
    if (raced && schedule.choices[s].milliseconds == 0) settled_ = false;
  }
  schedule.lead = leadOf(schedule.operations);
  return schedule;
}

// All in one arena: they run one after another, and what they compute does not matter.
Status Scheduler::measure(std::vector<Schedule>& candidates) {
  size_t bytes = 0;
  for (const Schedule& candidate : candidates) bytes = std::max(bytes, candidate.arenaBytes());
  auto arena = workshop_.choose.allocate(bytes);
  if (!arena.ok()) {
    if (arena.status().code != Code::kOutOfMemory) return arena.takeStatus();
    program_.scheduleRefused_.push_back("not measured: " + arena.status().message);
    program_.schedule_ = std::move(candidates.front());
    return Status::okay();
  }
  auto* const memory = static_cast<std::byte*>(arena.value().get());
  RESNET_RETURN_IF_CUDA(cudaMemsetAsync(memory, kFill, bytes, workshop_.stream),
                        "filling the arena of a measurement");
  SecondTrack second;
  RESNET_RETURN_IF_ERROR(second.make());
  const TrackStreams on = second.beside(workshop_.stream);
  std::vector<Heat> heats(candidates.size());
  for (size_t i = 0; i < heats.size(); ++i)
    heats[i].enqueue = [&candidate = candidates[i], memory, on] {
      return candidate.enqueue(memory, on, nullptr);
    };
  const StopwatchOptions watch{workshop_.stream, second.stream, program_.options_.graphs,
                               program_.options_.autotune == Autotune::kFull ? 8 : 3, &control_};
  RESNET_RETURN_IF_ERROR(timeHeats(heats, watch));

  size_t best = 0;
  for (size_t i = 0; i < heats.size(); ++i) {
    const bool timedBest = heats[best].milliseconds > 0;
    if (heats[i].milliseconds > 0 &&
        (!timedBest || heats[i].milliseconds < heats[best].milliseconds))
      best = i;
  }
  for (const Heat& heat : heats)
    if (heat.failure == Code::kOutOfMemory) settled_ = false;
  StoredChoice choice;
  choice.milliseconds = heats[best].milliseconds;
  choice.name = describe(candidates[best]);
  choice.engine = std::string(candidates[best].tracks == 2 ? "2" : "1") +
                  (candidates[best].alternates ? "a" : "f");
  for (size_t i = 0; i < heats.size(); ++i) {
    if (i == best) continue;
    const std::string what = describe(candidates[i]);
    choice.refused.push_back(heats[i].refused.empty() ? timed(what, heats[i].milliseconds)
                                                      : what + ": " + heats[i].refused);
  }
  program_.scheduleMilliseconds_ = choice.milliseconds;
  for (const std::string& reason : choice.refused) program_.scheduleRefused_.push_back(reason);
  // What memory was too short for, the next start tries again. The cache only saves time.
  if (workshop_.cache && settled_ && choice.milliseconds > 0) {
    const Status kept = workshop_.cache->store(question(), choice);
    static_cast<void>(kept);
  }
  program_.schedule_ = std::move(candidates[best]);
  return Status::okay();
}

// For explain(): what has not been in a race of engines, each alone, over and over in the same memory.
Status Scheduler::timeKernels() {
  Schedule& schedule = program_.schedule_;
  if (!workshop_.measures()) return Status::okay();
  auto arena = workshop_.choose.allocate(schedule.trackBytes);
  if (!arena.ok())
    return arena.status().code == Code::kOutOfMemory ? Status::okay() : arena.takeStatus();
  auto* const memory = static_cast<std::byte*>(arena.value().get());
  RESNET_RETURN_IF_CUDA(cudaMemsetAsync(memory, kFill, schedule.trackBytes, workshop_.stream),
                        "filling the arena of a measurement");
  std::vector<Heat> heats;
  std::vector<size_t> steps;
  for (const Operation& operation : schedule.operations) {
    const size_t step = operation.index;
    if (schedule.choices[step].milliseconds > 0) continue;
    steps.push_back(step);
    heats.emplace_back().enqueue = [this, &operation, memory, &schedule] {
      return operation.enqueue(memory, schedule.orderOf(operation.order), workshop_.stream);
    };
  }
  const StopwatchOptions watch{workshop_.stream, nullptr, program_.options_.graphs, 2, &control_};
  RESNET_RETURN_IF_ERROR(timeHeats(heats, watch));
  for (size_t i = 0; i < heats.size(); ++i) {
    Choice& choice = schedule.choices[steps[i]];
    choice.milliseconds = heats[i].milliseconds;
    if (!heats[i].refused.empty()) choice.refused.push_back("not timed: " + heats[i].refused);
  }
  return Status::okay();
}

// What the answer depends on, beyond what the cache's key has.
std::string Scheduler::question() const {
  const CompileOptions& options = program_.options_;
  std::string text = "schedule";
  for (const uint64_t number :
       {uint64_t(options.maxBatch), uint64_t(options.tracks), uint64_t(options.tileOrder),
        uint64_t(options.graphs), uint64_t(options.autotune), uint64_t(options.precision),
        uint64_t(options.workspaceLimit)})
    text += " " + std::to_string(number);
  return text + "\n" + writePlan(program_.plan_);
}

std::string Scheduler::describe(const Schedule& schedule) const {
  std::string text = schedule.tracks == 1 ? "one track" : "two tracks";
  return text + (schedule.alternates ? ", images alternating" : ", images forward");
}

}  // namespace resnet::cuda
