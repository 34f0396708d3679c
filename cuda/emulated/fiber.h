// One stack of execution, switched to and from by hand: what a CUDA thread is in the emulator. The
// address sanitizer is told of each switch; what runs here is not compiled for the thread sanitizer
// (cuda/simulated.cmake). For one OS thread at a time.
#pragma once

#include <sys/mman.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace resnet::cuda::simt {

class Fiber {
 public:
  Fiber() = default;  // the stack that the caller runs on
  explicit Fiber(void (*entry)()) : bytes_(kStackBytes) {
    stack_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack_ == MAP_FAILED || getcontext(&context_) != 0) {
      std::fprintf(stderr, "the emulator has no memory for a thread's stack\n");
      std::abort();
    }
    mprotect(stack_, kGuardBytes, PROT_NONE);  // an overflow faults
    context_.uc_stack.ss_sp = stack_;
    context_.uc_stack.ss_size = bytes_;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
  }
  ~Fiber() {
    if (stack_ == nullptr) return;
    munmap(stack_, bytes_);
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // From `from`, which runs now, to this one; returns when something switches back to `from`.
  void enterFrom(Fiber& from) {
#if defined(__SANITIZE_ADDRESS__)
    previous_ = &from;
    __sanitizer_start_switch_fiber(&from.fakeStack_, stack_ ? stack_ : callerStack_,
                                   stack_ ? bytes_ : callerBytes_);
#endif
    swapcontext(&from.context_, &context_);
    from.arrived();
  }

  // To be called first on a new fiber, and by enterFrom() on one that goes on.
  void arrived() {
#if defined(__SANITIZE_ADDRESS__)
    const void* stack = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(fakeStack_, &stack, &bytes);
    if (previous_ != nullptr && previous_->stack_ == nullptr) {
      previous_->callerStack_ = stack;
      previous_->callerBytes_ = bytes;
    }
#endif
  }

 private:
  // Sanitizers make frames several times larger. Pages that are not touched cost nothing.
  static constexpr size_t kStackBytes = size_t{256} << 10, kGuardBytes = 4096;

  ucontext_t context_ = {};
  void* stack_ = nullptr;
  size_t bytes_ = 0;
#if defined(__SANITIZE_ADDRESS__)
  void* fakeStack_ = nullptr;
  Fiber* previous_ = nullptr;  // the one that switched to this one last
  const void* callerStack_ = nullptr;
  size_t callerBytes_ = 0;
#endif
};

}  // namespace resnet::cuda::simt
