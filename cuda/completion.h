// How the end of work on a stream reaches the host without a core that spins: a host function on the
// stream wakes one thread per backend, which runs what is to be done. CUDA drops host functions once
// a device has failed, so that thread also looks at the streams it waits for, ten times a second.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "core/status.h"

namespace resnet::cuda {

struct CompletionState;

// Something awaited, embedded in its owner: waiting allocates nothing.
class Awaited {
 public:
  virtual ~Awaited() = default;
  // Once per expect() or post(), on the backend's thread, on which it must not block. `failure`: the
  // stream's error when its host function never came.
  virtual void arrived(Status failure) = 0;
  // The state of the stream that is waited for. Called between expect() and arrived().
  virtual cudaError_t streamState() = 0;

 private:
  friend class Completions;
  friend struct CompletionState;
  Awaited *next_ = nullptr, *previous_ = nullptr;
  bool expected_ = false;
  CompletionState* state_ = nullptr;
};

class Completions {
 public:
  explicit Completions(int device);
  ~Completions();  // nothing may be expected any more

  // `awaited->arrived()` once the stream has done all that was enqueued before.
  Status expect(Awaited* awaited, cudaStream_t stream);
  // `awaited->arrived()` soon, without waiting for a stream.
  void post(Awaited* awaited);

 private:
  std::shared_ptr<CompletionState> state_;
};

}  // namespace resnet::cuda
