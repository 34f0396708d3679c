// When work runs: at the latest moment that the program can tell, or in a random order that its waits allow.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "test/cuda/simulated/state.h"

namespace resnet::simulated {

namespace {

bool ready(const Operation& operation) {
  return std::all_of(operation.after.begin(), operation.after.end(),
                     [](const OperationPointer& other) { return other->done; });
}

// What must run next so that `until` can: the end of a chain of waits; under a seed, anything that could run.
OperationPointer choose(const OperationPointer& until) {
  State& all = state();
  if (all.scheduleSeed != 0) {
    std::vector<OperationPointer> possible;
    for (const OperationPointer& operation : all.pending)
      if (ready(*operation)) possible.push_back(operation);
    if (!possible.empty()) return possible[all.random() % possible.size()];
  }
  OperationPointer operation = until;
  for (;;) {
    const auto open = std::find_if(operation->after.begin(), operation->after.end(),
                                   [](const OperationPointer& other) { return !other->done; });
    if (open == operation->after.end()) return operation;
    operation = *open;
  }
}

// Device memory is open for `device` while this lives.
class OpenMemory {
 public:
  ~OpenMemory() { close(); }
  void open(int device) {
    if (device_ == device) return;
    close();
    openMemory(device);
    device_ = device;
  }
  void close() {
    if (device_ >= 0) closeMemory(device_);
    device_ = -1;
  }

 private:
  int device_ = -1;
};

cudaError_t runOnDevice(Operation& operation, const Device& device) {
  const OnStream stream(operation, &device);
  if (operation.work->copies) return operation.work->run();
  const Hidden hidden;
  return operation.work->run();
}

void run(Lock& lock, Operation& operation, OpenMemory& memory) {
  State& all = state();
  Device& device = all.devices[size_t(operation.device)];
  double start = device.clock;
  for (const OperationPointer& other : operation.after) start = std::max(start, other->finished);
  operation.finished = start;
  if (operation.work->run) {
    operation.finished += operation.work->microseconds * all.pace;
    if (operation.work->onHost) {
      // A stream that failed does not call its host functions.
      if (device.lost == cudaSuccess) {
        memory.close();
        ++all.hostFunctions;
        lock.unlock();
        inHostFunction = true;
        {
          OnStream stream(operation, &device);
          stream.call([](void* work) { static_cast<const Work*>(work)->run(); },
                      const_cast<Work*>(operation.work.get()));
        }
        inHostFunction = false;
        lock.lock();
        --all.hostFunctions;
      }
    } else {
      // A pool's taking back is no work of the device, and comes when nobody waits any more.
      const bool counts = std::strcmp(operation.work->name, "a release") != 0;
      if (counts && ++all.works == all.failWork && device.lost == cudaSuccess) {
        device.lost = all.failWorkCode;
        all.failWork = 0;
      }
      if (device.lost == cudaSuccess) {
        memory.open(operation.device);
        const cudaError_t code = runOnDevice(operation, device);
        if (code != cudaSuccess) device.lost = code;
      }
    }
    device.clock = std::max(device.clock, operation.finished);
  }
  // A marker passes on the order of what it waited for.
  if (operation.number == 0) {
    const OnStream stream(operation, &device);
  }
}

// The device's own thread: what ends in a host function runs though nobody waits.
void runUnasked() {
  State& all = state();
  Lock lock(all.mutex);
  for (;;) {
    all.changed.wait(lock, [&] { return !all.wanted.empty(); });
    const OperationPointer operation = all.wanted.front();
    all.wanted.pop_front();
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::microseconds(200));  // late, as a busy device is
    lock.lock();
    drive(lock, operation);
  }
}

OperationPointer append(int device, std::shared_ptr<const Work> work,
                        std::vector<OperationPointer> after) {
  State& all = state();
  auto operation = std::make_shared<Operation>();
  operation->device = device;
  operation->work = std::move(work);
  for (OperationPointer& other : after)
    if (other != nullptr) operation->after.push_back(std::move(other));
  all.pending.push_back(operation);
  orderEnqueued(*operation);
  if (operation->work->onHost) {
    if (!all.deviceThread) std::thread(runUnasked).detach();
    all.deviceThread = true;
    all.wanted.push_back(operation);
    all.changed.notify_all();
  }
  return operation;
}

}  // namespace

// The default stream (null) and blocking streams wait for each other.
OperationPointer enqueue(CUstream_st* stream, std::shared_ptr<const Work> work) {
  State& all = state();
  if (stream != nullptr) {
    std::vector<OperationPointer> after = {stream->tail};
    if (stream->blocking) after.push_back(all.defaultTail[stream->device]);
    stream->tail = append(stream->device, std::move(work), std::move(after));
    return stream->tail;
  }
  std::vector<OperationPointer> after = {all.defaultTail[currentDevice]};
  for (CUstream_st* other : all.streams)
    if (other->blocking && other->device == currentDevice) after.push_back(other->tail);
  OperationPointer operation = append(currentDevice, std::move(work), std::move(after));
  all.defaultTail[currentDevice] = operation;
  return operation;
}

void drive(Lock& lock, const OperationPointer& until) {
  State& all = state();
  while (until != nullptr && !until->done) {
    if (all.busy) {
      all.changed.wait(lock);
      continue;
    }
    all.busy = true;
    {
      OpenMemory memory;
      while (!until->done) {
        const OperationPointer operation = choose(until);
        run(lock, *operation, memory);
        operation->done = true;
        operation->work = nullptr;  // a kernel's context goes
        operation->after.clear();
        all.pending.remove(operation);
        all.changed.notify_all();
      }
    }
    all.busy = false;
    all.changed.notify_all();
  }
}

void await(Lock& lock, const OperationPointer& until) {
  drive(lock, until);
  orderWaited(until.get());
}

void driveDevice(Lock& lock, int device) {
  State& all = state();
  for (;;) {
    OperationPointer open;
    for (const OperationPointer& operation : all.pending)
      if (operation->device == device) open = operation;
    if (open == nullptr) return;
    drive(lock, open);
  }
}

bool validStream(CUstream_st* stream) {
  if (stream == nullptr || state().streams.count(stream) != 0) return true;
  violation("a stream was used that does not exist or was destroyed");
  return false;
}

Capture* captureOf(CUstream_st* stream) { return stream == nullptr ? nullptr : stream->capture; }

cudaError_t refuseInCapture(CUstream_st* stream) {
  if (stream != nullptr) {
    if (stream->capture == nullptr) return cudaSuccess;
    stream->capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  // The default stream would wait for every blocking one.
  for (CUstream_st* other : state().streams) {
    if (other->capture == nullptr || !other->blocking) continue;
    other->capture->invalid = true;
    return cudaErrorStreamCaptureImplicit;
  }
  return cudaSuccess;
}

cudaError_t refuseUnsafe() {
  for (Capture* capture : state().captures) {
    const bool global = capture->mode == cudaStreamCaptureModeGlobal;
    const bool own = capture->thread == std::this_thread::get_id();
    if (!global && !(own && capture->mode == cudaStreamCaptureModeThreadLocal)) continue;
    capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  return cudaSuccess;
}

cudaError_t submit(CUstream_st* stream, Work work) {
  auto shared = std::make_shared<const Work>(std::move(work));
  if (Capture* capture = captureOf(stream)) {
    if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
    capture->nodes.push_back({shared, stream->captureTail});
    stream->captureTail = {int(capture->nodes.size()) - 1};
    return cudaSuccess;
  }
  if (stream == nullptr) {
    const cudaError_t code = refuseInCapture(nullptr);
    if (code != cudaSuccess) return code;
  }
  enqueue(stream, std::move(shared));
  return cudaSuccess;
}

}  // namespace resnet::simulated
