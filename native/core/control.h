// The cancellation flag that travels with every long call.
#pragma once

#include <atomic>

namespace resnet {

// Shared by the caller, who cancels, and the work, which polls between segments (runs), steps
// (compile) or tensors (load). Two flags: the call's own and the environment's (closing). On a
// plugin's side both are the addon's, asked through `poll`.
struct Control {
  std::atomic<bool> cancelled{false};
  const std::atomic<bool>* closing = nullptr;
  bool (*poll)(const void* context) = nullptr;
  const void* pollContext = nullptr;

  bool stop() const {
    return cancelled.load(std::memory_order_relaxed) ||
           (closing != nullptr && closing->load(std::memory_order_relaxed)) ||
           (poll != nullptr && poll(pollContext));
  }
};

}  // namespace resnet
