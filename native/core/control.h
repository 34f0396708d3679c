// The cancellation flag that travels with every long call.
#pragma once

#include <atomic>

namespace resnet {

// Shared by the caller, who cancels, and the work, which polls between segments (runs), steps
// (compile) or tensors (load). Two flags: the call's own and the environment's (closing).
struct Control {
  std::atomic<bool> cancelled{false};
  const std::atomic<bool>* closing = nullptr;

  bool stop() const {
    return cancelled.load(std::memory_order_relaxed) ||
           (closing != nullptr && closing->load(std::memory_order_relaxed));
  }
};

}  // namespace resnet
