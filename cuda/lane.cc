#include "cuda/lane.h"

#include <algorithm>
#include <cstring>
#include <system_error>

#include "cuda/kernels/kernels.h"

namespace resnet::cuda {
namespace {

constexpr size_t kSlots = 2;
// Staging of one slot beyond which a lane has one alone: overlap is not worth a gigabyte.
constexpr size_t kLargeSlotBytes = size_t{512} << 20;

// Where one border's images begin in a staging buffer: aligned for every element type.
constexpr size_t kBorderAlignment = 256;
constexpr size_t aligned(size_t bytes) {
  return (bytes + kBorderAlignment - 1) / kBorderAlignment * kBorderAlignment;
}
template <typename Border>
size_t stagingBytes(const std::vector<Border>& borders, int maxBatch) {
  size_t bytes = 0;
  for (const Border& border : borders) bytes += aligned(border.imageBytes * size_t(maxBatch));
  return bytes;
}

// Some consecutive images of a batch, all in one track.
struct Range {
  int first = 0, images = 0;  // in the track
  int before = 0;             // of those visited, in other tracks
};

View imagesOf(View value, std::byte* arena, size_t offset, const Range& range) {
  const size_t imageBytes = size_t(value.h) * value.w * value.pitch * dtypeBytes(value.dtype);
  value.data = arena + offset + size_t(range.first) * imageBytes;
  value.n = range.images;
  return value;
}

// Calls visit(track, range) for the images first to first + images of a batch.
template <typename Visit>
Status visitTracks(const Schedule& schedule, int first, int images, const Visit& visit) {
  for (int before = 0; before < images;) {
    const int at = first + before, inTrack = at % schedule.images;
    const int count = std::min(images - before, schedule.images - inTrack);
    RESNET_RETURN_IF_ERROR(visit(at / schedule.images, Range{inTrack, count, before}));
    before += count;
  }
  return Status::okay();
}

// Calls visit(firstImage, images, piece) for every piece on the device, and once for every run of
// pieces in host memory, with a null piece.
template <typename Piece, typename Visit>
Status visitRuns(const std::vector<Piece>& pieces, const Visit& visit) {
  int first = 0, run = 0;
  for (const Piece& piece : pieces) {
    if (!piece.onDevice) {
      run += piece.images;
      continue;
    }
    if (run > 0) RESNET_RETURN_IF_ERROR(visit(first, run, static_cast<const Piece*>(nullptr)));
    first += run;
    run = 0;
    if (piece.images > 0) RESNET_RETURN_IF_ERROR(visit(first, piece.images, &piece));
    first += piece.images;
  }
  return run > 0 ? visit(first, run, static_cast<const Piece*>(nullptr)) : Status::okay();
}

}  // namespace

void CudaLane::Queue::push(Work work) {
  if (count_ == ring_.size()) {
    std::vector<Work> larger(2 * ring_.size());
    for (size_t i = 0; i < count_; ++i) larger[i] = std::move(ring_[(first_ + i) % ring_.size()]);
    ring_ = std::move(larger);
    first_ = 0;
  }
  ring_[(first_ + count_++) % ring_.size()] = std::move(work);
}

CudaLane::Work CudaLane::Queue::pop() {
  Work work = std::move(ring_[first_]);
  ring_[first_] = {};
  first_ = (first_ + 1) % ring_.size();
  --count_;
  return work;
}

CudaLane::CudaLane(std::shared_ptr<const CudaProgram> program)
    : program_(std::move(program)), device_(*program_->device_) {}

CudaLane::~CudaLane() {
  if (thread_.joinable()) {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  // Handles and memory are freed with their device current.
  CurrentDevice current(device_.index());
  settleCompute();  // after a start that failed
  slots_.clear();
  pictures_.reset();
  graph_ = {};
  arena_ = {};
  second_ = {};
  upload_ = {};
  compute_ = {};
  download_ = {};
}

Status CudaLane::start() {
  RESNET_RETURN_IF_ERROR(device_.usable());
  CurrentDevice current(device_.index());
  auto arena =
      device_.allocate(MemoryKind::kArenas, program_->schedule_.arenaBytes(), "the activations");
  if (!arena.ok()) return arena.takeStatus();
  arena_ = arena.take();
  // Padded channels are zero from the beginning, and images that no submission fills are numbers.
  RESNET_RETURN_IF_ERROR(device_.clear(arena_.data(), arena_.bytes()));
  for (Stream* stream : {&upload_, &compute_, &download_}) RESNET_RETURN_IF_ERROR(make(*stream));
  if (program_->schedule_.tracks == 2) RESNET_RETURN_IF_ERROR(second_.make());

  for (const InputBorder& border : program_->schedule_.inputs) {
    if (!border.resize || pictures_) continue;
    RESNET_RETURN_IF_ERROR(pictures_.emplace(device_).start());
  }

  const int maxBatch = program_->options_.maxBatch;
  const size_t slotBytes = stagingBytes(program_->schedule_.inputs, maxBatch) +
                           stagingBytes(program_->schedule_.outputs, maxBatch);
  for (size_t i = 0; i < (slotBytes > kLargeSlotBytes ? 1 : kSlots); ++i) {
    slots_.push_back(std::make_unique<Slot>());
    RESNET_RETURN_IF_ERROR(makeSlot(*slots_.back()));
  }
  if (program_->options_.graphs) RESNET_RETURN_IF_ERROR(capture());
  try {
    thread_ = std::thread([this] { loop(); });
  } catch (const std::system_error& error) {
    return Status::error(Code::kOutOfMemory,
                         std::string("the system starts no thread for the lane: ") + error.what());
  }
  return Status::okay();
}

Status CudaLane::makeSlot(Slot& slot) {
  slot.lane = this;
  RESNET_RETURN_IF_ERROR(make(slot.uploaded));
  RESNET_RETURN_IF_ERROR(make(slot.computed));
  const auto allocate = [&](size_t bytes, PinnedMemory& host, DeviceMemory& device) -> Status {
    auto pinned = PinnedMemory::allocate(bytes);
    if (!pinned.ok()) return pinned.takeStatus();
    host = pinned.take();
    auto memory = device_.allocate(MemoryKind::kStaging, bytes, "the transfer buffers");
    if (!memory.ok()) return memory.takeStatus();
    device = memory.take();
    return Status::okay();
  };
  const int maxBatch = program_->options_.maxBatch;
  RESNET_RETURN_IF_ERROR(allocate(stagingBytes(program_->schedule_.inputs, maxBatch),
                                  slot.hostInput, slot.deviceInput));
  return allocate(stagingBytes(program_->schedule_.outputs, maxBatch), slot.hostOutput,
                  slot.deviceOutput);
}

// Runs the body once, so that every kernel is loaded and its failure is met here, and then captures
// it. What cannot be captured is launched kernel by kernel, and explain() says so.
Status CudaLane::capture() {
  RESNET_RETURN_IF_ERROR(program_->enqueueBody(arena_.data(), streams(), nullptr));
  RESNET_RETURN_IF_CUDA(cudaStreamSynchronize(compute_), "running the network for the first time");

  RESNET_RETURN_IF_CUDA(cudaStreamBeginCapture(compute_, cudaStreamCaptureModeThreadLocal),
                        "capturing a CUDA graph");
  Status body = program_->enqueueBody(arena_.data(), streams(), nullptr);
  Graph graph;
  Status ended =
      checkCuda(cudaStreamEndCapture(compute_, graph.address()), "capturing a CUDA graph");
  if (!body.ok()) ended = std::move(body);
  if (ended.ok())
    ended = checkCuda(cudaGraphInstantiate(graph_.address(), graph, 0), "building a CUDA graph");
  if (ended.ok()) return ended;
  graph_ = {};
  if (ended.code == Code::kDeviceLost || ended.code == Code::kOutOfMemory) return ended;
  program_->refuseGraph(ended.message);
  return Status::okay();
}

void CudaLane::settleCompute() {
  if (compute_ != nullptr) cudaStreamSynchronize(compute_);
  if (second_.stream != nullptr) cudaStreamSynchronize(second_.stream);
}

void CudaLane::submit(Submission submission, std::shared_ptr<const Control> control,
                      std::function<void(Status)> done) {
  {
    std::lock_guard lock(mutex_);
    waiting_.push({std::move(submission), std::move(control), std::move(done)});
  }
  wake_.notify_all();
}

void CudaLane::loop() {
  cudaSetDevice(device_.index());
  std::unique_lock lock(mutex_);
  while (true) {
    Slot& slot = *slots_[nextSlot_];
    wake_.wait(lock, [&] { return !slot.busy && (!waiting_.empty() || stopping_); });
    if (waiting_.empty()) break;
    slot.work = waiting_.pop();
    slot.status = Status::okay();
    slot.busy = true;
    nextSlot_ = (nextSlot_ + 1) % slots_.size();
    lock.unlock();
    run(slot);
    lock.lock();
  }
  // Slots finish in order, and the one that is next in turn is free: the others may still run.
  for (const auto& slot : slots_) wake_.wait(lock, [&] { return !slot->busy; });
}

void CudaLane::run(Slot& slot) {
  slot.status = enqueue(slot);
  if (slot.status.ok()) {
    // From a success on the slot is the completion thread's, and may be free again.
    Status expected = device_.completions().expect(&slot, download_);
    if (expected.ok()) return;
    slot.status = std::move(expected);
  }
  // What was enqueued before the failure still uses the caller's memory and the slot's.
  cudaStreamSynchronize(upload_);
  settleCompute();
  const cudaError_t state = cudaStreamSynchronize(download_);
  if (isSticky(state)) slot.status = cudaFailure(state, slot.status.message).at(slot.status.step);
  device_.completions().post(&slot);
}

Status CudaLane::enqueue(Slot& slot) {
  RESNET_RETURN_IF_ERROR(device_.usable());
  const Control* control = slot.work.control.get();
  const auto stopped = [control] { return control != nullptr && control->stop(); };
  if (stopped()) return Status::aborted();
  RESNET_RETURN_IF_ERROR(enqueueInputs(slot));
  if (stopped()) return Status::aborted();
  if (graph_ != nullptr) {
    RESNET_RETURN_IF_CUDA(cudaGraphLaunch(graph_, compute_), "launching a CUDA graph");
  } else {
    RESNET_RETURN_IF_ERROR(program_->enqueueBody(arena_.data(), streams(), control));
  }
  return enqueueOutputs(slot);
}

Status CudaLane::enqueueInputs(Slot& slot) {
  size_t staged = 0;
  for (const InputBorder& border : program_->schedule_.inputs) {
    Status status = enqueueInput(slot, border, staged);
    if (!status.ok()) return std::move(status).at(*border.step);
  }
  return Status::okay();
}

Status CudaLane::enqueueInput(Slot& slot, const InputBorder& border, size_t& staged) {
  const std::vector<InputPiece>& pieces = slot.work.submission.inputs[size_t(border.index)];
  if (border.resize) {
    const auto viewOf = [&](int image) {
      View view;
      const auto place = [&](int track, const Range& range) {
        view = imagesOf(border.value, trackArena(track), border.offset, range);
        return Status::okay();
      };
      // It fails as `place` does: never.
      static_cast<void>(visitTracks(program_->schedule_, image, 1, place));
      return view;
    };
    return pictures_->enqueue(border, pieces, viewOf, {upload_, compute_});
  }
  const size_t begin = staged = aligned(staged);
  for (const InputPiece& piece : pieces) {
    if (piece.onDevice) continue;
    const size_t bytes = size_t(piece.images) * border.imageBytes;
    if (bytes > 0) std::memcpy(slot.hostInput.data() + staged, piece.data, bytes);
    staged += bytes;
  }
  if (staged > begin) {
    RESNET_RETURN_IF_CUDA(
        cudaMemcpyAsync(slot.deviceInput.data() + begin, slot.hostInput.data() + begin,
                        staged - begin, cudaMemcpyHostToDevice, upload_),
        "uploading images");
    RESNET_RETURN_IF_CUDA(cudaEventRecord(slot.uploaded, upload_), "uploading images");
    RESNET_RETURN_IF_CUDA(cudaStreamWaitEvent(compute_, slot.uploaded, 0), "uploading images");
  }
  size_t at = begin;
  return visitRuns(pieces, [&](int first, int images, const InputPiece* piece) {
    InputArguments arguments;
    arguments.sourceType = border.type;
    arguments.nhwc = border.nhwc;
    arguments.mean = border.mean;
    arguments.std = border.std;
    arguments.order = program_->schedule_.orderOf(border.order);
    const auto* source = piece != nullptr ? static_cast<const std::byte*>(piece->data)
                                          : slot.deviceInput.data() + at;
    if (piece == nullptr) at += size_t(images) * border.imageBytes;
    return visitTracks(program_->schedule_, first, images, [&](int track, const Range& range) {
      arguments.to = imagesOf(border.value, trackArena(track), border.offset, range);
      arguments.source = source + size_t(range.before) * border.imageBytes;
      return checkCuda(input(arguments, compute_), "reading images");
    });
  });
}

Status CudaLane::enqueueOutputs(Slot& slot) {
  size_t staged = 0;
  for (const OutputBorder& border : program_->schedule_.outputs) {
    Status status = enqueueOutput(slot, border, staged);
    if (!status.ok()) return std::move(status).at(*border.step);
  }
  RESNET_RETURN_IF_CUDA(cudaEventRecord(slot.computed, compute_), "downloading results");
  RESNET_RETURN_IF_CUDA(cudaStreamWaitEvent(download_, slot.computed, 0), "downloading results");
  if (staged > 0)
    RESNET_RETURN_IF_CUDA(cudaMemcpyAsync(slot.hostOutput.data(), slot.deviceOutput.data(), staged,
                                          cudaMemcpyDeviceToHost, download_),
                          "downloading results");
  return Status::okay();
}

Status CudaLane::enqueueOutput(Slot& slot, const OutputBorder& border, size_t& staged) {
  staged = aligned(staged);
  return visitRuns(
      slot.work.submission.outputs[size_t(border.index)],
      [&](int first, int images, const OutputPiece* piece) {
        OutputArguments arguments;
        arguments.nhwc = border.nhwc;
        arguments.order = program_->schedule_.orderOf(border.order);
        auto* const destination = piece != nullptr ? static_cast<std::byte*>(piece->data)
                                                   : slot.deviceOutput.data() + staged;
        if (piece == nullptr) staged += size_t(images) * border.imageBytes;
        return visitTracks(program_->schedule_, first, images, [&](int track, const Range& range) {
          arguments.from = imagesOf(border.value, trackArena(track), border.offset, range);
          arguments.destination = destination + size_t(range.before) * border.imageBytes;
          return checkCuda(output(arguments, compute_), "writing results");
        });
      });
}

// From the page-locked buffer to the callers' memory, in the order in which enqueueOutput staged it.
void CudaLane::deliver(Slot& slot) const {
  size_t staged = 0;
  for (const OutputBorder& border : program_->schedule_.outputs) {
    staged = aligned(staged);
    for (const OutputPiece& piece : slot.work.submission.outputs[size_t(border.index)]) {
      if (piece.onDevice || piece.images == 0) continue;
      const size_t bytes = size_t(piece.images) * border.imageBytes;
      std::memcpy(piece.data, slot.hostOutput.data() + staged, bytes);
      staged += bytes;
    }
  }
}

void CudaLane::finish(Slot& slot, Status failure) {
  Status status = device_.note(failure.ok() ? std::move(slot.status) : std::move(failure));
  if (status.ok()) deliver(slot);
  std::function<void(Status)> done = std::move(slot.work.done);
  slot.work = {};
  done(std::move(status));
  done = nullptr;
  std::lock_guard lock(mutex_);
  slot.busy = false;
  wake_.notify_all();
}

}  // namespace resnet::cuda
