// What ThreadSanitizer is told of the simulated machine. Taken as it is, the machine would hide what is looked for: its one
// lock puts all threads that call CUDA in an order, which no device does. So its inside is hidden, lock and all, and each
// piece of work is told to the sanitizer as CUDA's documentation orders it: after the call that enqueued it, after the work
// that its stream or a wait puts before it, before what the program does once it has waited for it. A copy reads and
// writes, and a host function runs, in a thread of the sanitizer's own for each stream, whoever drives the device.
//
// Kernels and convolutions touch nothing but memory of the device, and are hidden too: their order is the random schedules'.
//
// In every other build all of this is nothing.
#pragma once

namespace resnet::simulated {

struct Operation;

#if defined(RESNET_SIMULATED_ORDER)

// What this thread does while this lives, the sanitizer does not see: neither accesses, nor locks.
class Hidden {
 public:
  Hidden();
  ~Hidden();
  Hidden(const Hidden&) = delete;
  Hidden& operator=(const Hidden&) = delete;
};

// Seen, amidst what is hidden.
class Shown {
 public:
  Shown();
  ~Shown();
  Shown(const Shown&) = delete;
  Shown& operator=(const Shown&) = delete;
};

// All with the machine's lock held, by one thread at a time.

// The calling thread enqueued it.
void orderEnqueued(const Operation& operation);
// The calling thread has waited for it.
void orderWaited(const Operation* operation);
// The calling thread knows that a device does nothing any more: `place` stands for the device.
void orderStopped(const void* place);
// While this lives, the calling thread is the operation's stream; `place` stands for its device.
class OnStream {
 public:
  OnStream(Operation& operation, const void* place);
  ~OnStream();
  OnStream(const OnStream&) = delete;
  OnStream& operator=(const OnStream&) = delete;
  // function(context), on a stack that is the stream's: the sanitizer would take its frames for the driving thread's.
  void call(void (*function)(void*), void* context);

 private:
  Operation& operation_;
  const void* place_;
  void* caller_;
};

#else

struct Hidden {
  Hidden() {}
};
struct Shown {
  Shown() {}
};
inline void orderEnqueued(const Operation&) {}
inline void orderWaited(const Operation*) {}
inline void orderStopped(const void*) {}
struct OnStream {
  OnStream(Operation&, const void*) {}
  void call(void (*function)(void*), void* context) { function(context); }
};

#endif

}  // namespace resnet::simulated
