// One queue of work on a program: an arena, three streams (a fourth for a second track), and slots of staging memory, so that one
// batch computes while the next is uploaded and the last downloaded. A thread of the lane copies
// callers' memory and enqueues; the backend's completion thread copies results out and calls done.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "cuda/pictures.h"
#include "cuda/program.h"

namespace resnet::cuda {

class CudaLane final : public Lane {
 public:
  explicit CudaLane(std::shared_ptr<const CudaProgram> program);
  ~CudaLane() override;

  // Allocates everything, runs the program once and captures it.
  Status start();

  void submit(Submission submission, std::shared_ptr<const Control> control,
              std::function<void(Status)> done) override;

 private:
  struct Work {
    Submission submission;
    std::shared_ptr<const Control> control;
    std::function<void(Status)> done;
  };
  // Submissions in waiting. Grows when more wait than ever before, then never again.
  class Queue {
   public:
    bool empty() const { return count_ == 0; }
    void push(Work work);
    Work pop();

   private:
    std::vector<Work> ring_ = std::vector<Work>(16);
    size_t first_ = 0, count_ = 0;
  };
  struct Slot final : Awaited {
    void arrived(Status failure) override { lane->finish(*this, std::move(failure)); }
    cudaError_t streamState() override { return cudaStreamQuery(lane->download_); }

    CudaLane* lane = nullptr;
    PinnedMemory hostInput, hostOutput;
    DeviceMemory deviceInput, deviceOutput;
    Event uploaded, computed;
    Work work;
    Status status;
    bool busy = false;  // guarded by the lane's mutex
  };

  TrackStreams streams() const { return second_.beside(compute_); }
  std::byte* trackArena(int track) const {
    return arena_.data() + size_t(track) * program_->schedule_.trackBytes;
  }
  void settleCompute();
  Status makeSlot(Slot& slot);
  Status capture();
  void loop();
  void run(Slot& slot);
  Status enqueue(Slot& slot);
  Status enqueueInputs(Slot& slot);
  Status enqueueInput(Slot& slot, const InputBorder& border, size_t& staged);
  Status enqueueOutputs(Slot& slot);
  Status enqueueOutput(Slot& slot, const OutputBorder& border, size_t& staged);
  void deliver(Slot& slot) const;
  void finish(Slot& slot, Status failure);

  const std::shared_ptr<const CudaProgram> program_;
  Device& device_;
  DeviceMemory arena_;
  Stream upload_, compute_, download_;
  SecondTrack second_;  // unmade with one track
  GraphExecutable graph_;
  std::optional<Pictures> pictures_;  // where an input takes them
  std::vector<std::unique_ptr<Slot>> slots_;

  std::mutex mutex_;  // guards the rest
  std::condition_variable wake_;
  Queue waiting_;
  size_t nextSlot_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace resnet::cuda
