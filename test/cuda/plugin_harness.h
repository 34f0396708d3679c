// Whole networks through a Backend: compile, lane, submissions, results as the caller sees them.
#pragma once

#include <condition_variable>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/backend.h"
#include "test/cuda/difference.h"
#include "test/cuda/networks.h"
#include "test/cuda/patience.h"

namespace resnet::test {

using Outputs =
    std::vector<std::vector<float>>;  // per output of the plan, images one after another

// `images` inputs, the same for every backend.
inline std::vector<uint8_t> inputOf(const Network& network, bool pixels, int images, int seed = 0) {
  std::vector<uint8_t> bytes(network.inputBytes() * size_t(images));
  uint64_t state = uint64_t(seed) * 0x9E3779B97F4A7C15u + 1;
  const auto next = [&state] {
    return state = state * 6364136223846793005u + 1442695040888963407u;
  };
  if (pixels) {
    for (uint8_t& byte : bytes) byte = uint8_t(next() >> 56);
    return bytes;
  }
  for (size_t i = 0; i < bytes.size(); i += 4) {
    const float value = float(next() >> 40) * 0x1p-23f - 1.0f;  // [-1, 1)
    std::memcpy(&bytes[i], &value, 4);
  }
  return bytes;
}

// One submission in flight.
class Flight {
 public:
  void launch(Lane& lane, const Network& network, const std::vector<uint8_t>& input, int images,
              std::shared_ptr<const Control> control = nullptr) {
    Submission submission;
    submission.batch = images;
    submission.inputs = {{{input.data(), images, false}}};
    for (size_t elements : network.outputElements) {
      outputs.emplace_back(elements * size_t(images), std::numeric_limits<float>::quiet_NaN());
      submission.outputs.push_back({{outputs.back().data(), images, false}});
    }
    lane.submit(std::move(submission), std::move(control), [state = state_](Status status) {
      std::lock_guard lock(state->mutex);
      state->status = std::move(status);
      ++state->calls;
      state->arrived.notify_all();
    });
  }

  // kInternal "hung" when nothing comes and nothing is computed any more.
  Status wait() {
    std::unique_lock lock(state_->mutex);
    if (!waitPatiently(state_->arrived, lock, [&] { return state_->calls > 0; }))
      return Status::error(Code::kInternal, "hung");
    return state_->status;
  }

  Outputs outputs;

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable arrived;
    Status status;
    int calls = 0;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

struct Outcome {
  Status status;
  Outputs outputs;
};

// Compiles, runs `runs` submissions one after another and returns the last one's outputs.
inline Outcome runNetwork(Backend& backend, const Plan& plan, const Network& network,
                          const std::vector<uint8_t>& input, int images, CompileOptions options,
                          int runs = 1) {
  const Control control;
  auto program = backend.compile(plan, makeFormulaWeights(3, network.tensors), options, control);
  if (!program.ok()) return {program.takeStatus(), {}};
  auto lane = program.value()->createLane();
  if (!lane.ok()) return {lane.takeStatus(), {}};
  Outcome outcome;
  for (int run = 0; run < runs; ++run) {
    Flight flight;
    flight.launch(*lane.value(), network, input, images);
    outcome.status = flight.wait();
    outcome.outputs = std::move(flight.outputs);
    if (!outcome.status.ok()) break;
  }
  return outcome;
}

}  // namespace resnet::test
