#include "test/cuda/simulated/order.h"

#if defined(RESNET_SIMULATED_ORDER)

#include <sanitizer/tsan_interface.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "test/cuda/simulated/state.h"

extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
void AnnotateIgnoreSyncBegin(const char* file, int line);
void AnnotateIgnoreSyncEnd(const char* file, int line);
}

namespace resnet::simulated {

namespace {

void hide() {
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
}
void show() {
  AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}

constexpr size_t kStackBytes = size_t{256} << 10, kGuardBytes = 4096;

// A thread of the sanitizer's for a chain of work. Work that continues no chain takes the one that was used longest ago: a
// chain that comes to be ordered behind another by that can only hide a race, never make one up.
struct Track {
  void* fiber = nullptr;
  uint64_t last = 0;  // number of the operation that ran on it last; 0: none did
  void* stack = nullptr;
};
constexpr size_t kTracks = 32;
Track tracks[kTracks];
uint64_t operations = 0;

Track& make(Track& track) {
  if (track.fiber != nullptr) return track;
  track.fiber = __tsan_create_fiber(0);
  __tsan_set_fiber_name(track.fiber, "a stream of the simulated device");
  track.stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (track.stack == MAP_FAILED) {
    std::fprintf(stderr, "the simulated device has no memory for a stream's stack\n");
    std::abort();
  }
  mprotect(track.stack, kGuardBytes, PROT_NONE);  // an overflow faults
  return track;
}

Track& trackOf(const Operation& operation) {
  for (const OperationPointer& before : operation.after)
    if (before->number != 0 && tracks[before->track].last == before->number)
      return tracks[before->track];
  return make(*std::min_element(std::begin(tracks), std::end(tracks),
                                [](const Track& a, const Track& b) { return a.last < b.last; }));
}

void acquire(const void* place) { __tsan_acquire(const_cast<void*>(place)); }
void release(const void* place) { __tsan_release(const_cast<void*>(place)); }

// Of the call() under way: only one thread drives the machine.
ucontext_t callerContext, ownContext;
void (*called)(void*) = nullptr;
void* calledWith = nullptr;
void enterCalled() { called(calledWith); }

}  // namespace

Hidden::Hidden() { hide(); }
Hidden::~Hidden() { show(); }
Shown::Shown() { show(); }
Shown::~Shown() { hide(); }

void orderEnqueued(const Operation& operation) {
  const Shown shown;
  release(&operation);
}

void orderWaited(const Operation* operation) {
  if (operation == nullptr) return;
  const Shown shown;
  acquire(operation);
}

void orderStopped(const void* place) {
  const Shown shown;
  acquire(place);
}

OnStream::OnStream(Operation& operation, const void* place)
    : operation_(operation), place_(place), caller_(__tsan_get_current_fiber()) {
  Track& track = trackOf(operation);
  operation.number = track.last = ++operations;
  operation.track = size_t(&track - tracks);
  __tsan_switch_to_fiber(track.fiber, __tsan_switch_to_fiber_no_sync);
  acquire(&operation);
  for (const OperationPointer& before : operation.after) acquire(before.get());
}

OnStream::~OnStream() {
  release(&operation_);
  release(place_);
  __tsan_switch_to_fiber(caller_, __tsan_switch_to_fiber_no_sync);
}

void OnStream::call(void (*function)(void*), void* context) {
  called = function;
  calledWith = context;
  getcontext(&ownContext);
  ownContext.uc_stack.ss_sp = tracks[operation_.track].stack;
  ownContext.uc_stack.ss_size = kStackBytes;
  ownContext.uc_link = &callerContext;
  makecontext(&ownContext, enterCalled, 0);
  swapcontext(&callerContext, &ownContext);
}

}  // namespace resnet::simulated

#endif
