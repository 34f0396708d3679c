// CUDA's threads on a host compiler: the same .cu file, compiled as C++, runs here thread for thread.
//
// One block runs at a time, each of its threads on a fiber. A thread runs until it must wait for
// others (__syncthreads, __syncwarp, a shuffle, a vote) or ends; which one goes on then is drawn from
// a seed, and so is the order of blocks. Nothing is in lockstep, so that a barrier that is missing
// shows in some order. Shared memory starts poisoned with 0xFF bytes (NaN), and so is what a shuffle
// reads from a lane outside its mask. What CUDA leaves undefined or would hang on is a fault: the
// launch is abandoned, the fault is printed and the process aborted, or handed to settings().fault.
//
// Not modelled: a switch in the middle of straight code (races without any barrier), the memory
// model, coalescing, occupancy.
#pragma once

#include <cuda_runtime.h>

#include <math.h>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda/emulated/fiber.h"
#include "cuda/emulated/stream.h"

namespace resnet::cuda::simt {

// Of the process; change them while nothing is launched.
struct Settings {
  std::atomic<uint64_t> seed = 1;
  void (*fault)(const char* message) = nullptr;  // null: print and abort
  Settings() {
    if (const char* text = std::getenv("RESNET_SIMT_SEED")) {
      seed = std::strtoull(text, nullptr, 10);
    }
  }
};
inline Settings& settings() {
  static Settings value;
  return value;
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0xD1342543DE82EF95u + 1) {}
  size_t below(size_t n) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return size_t((state_ >> 33) % n);
  }

 private:
  uint64_t state_;
};

enum class Wait { kNone, kBlock, kWarp, kShuffle, kBallot };
inline const char* waitName(Wait wait) {
  constexpr const char* kNames[] = {"nothing", "__syncthreads", "__syncwarp", "a shuffle",
                                    "a vote"};
  return kNames[int(wait)];
}

struct Thread {
  uint3 index = {};
  int linear = 0;
  Fiber* fiber = nullptr;  // null: not begun, or ended
  bool ended = false;
  Wait wait = Wait::kNone;
  unsigned mask = 0;      // of the warp operation that it waits in
  uint64_t given = 0;     // its value there
  uint64_t gathered[32];  // every lane's value, once all have come; poison outside the mask
};

// Runs the blocks of one launch on the calling OS thread.
class Machine {
 public:
  static Machine& current() {
    thread_local Machine machine;
    return machine;
  }

  template <typename Body>
  bool run(dim3 grid, dim3 block, size_t sharedBytes, Body& body) {
    gridDim_ = grid;
    blockDim_ = block;
    body_ = [](void* context) { (*static_cast<Body*>(context))(); };
    context_ = &body;
    const uint64_t seed = settings().seed;
    if (seed != seed_) launches_ = 0;
    seed_ = seed;
    random_ = Random(seed * 0x9E3779B97F4A7C15u + launches_++);
    shared_.clear();
    dynamic_ = std::make_unique<Poisoned>(nullptr, sharedBytes);
    threads_.resize(size_t(block.x) * block.y * block.z);
    const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
    std::vector<uint32_t> order(blocks);
    for (uint64_t i = 0; i < blocks; ++i) order[i] = uint32_t(i);
    for (uint64_t i = blocks; i-- > 0;) {
      std::swap(order[i], order[random_.below(i + 1)]);
      blockIndex_ = {order[i] % grid.x, order[i] / grid.x % grid.y, order[i] / grid.x / grid.y};
      if (!runBlock()) return false;
    }
    return true;
  }

  const uint3& threadIndex() const { return self_->index; }
  const uint3& blockIndex() const { return blockIndex_; }
  const dim3& blockDimension() const { return blockDim_; }
  const dim3& gridDimension() const { return gridDim_; }

  // Memory of the block: one allocation for each place in the source, the same for all threads.
  void* shared(const void* place, size_t bytes) {
    for (const auto& each : shared_) {
      if (each->place == place) return each->memory;
    }
    shared_.push_back(std::make_unique<Poisoned>(place, bytes));
    return shared_.back()->memory;
  }
  void* sharedDynamic() { return dynamic_->memory; }

  void syncBlock() {
    self_->wait = Wait::kBlock;
    ++waitingForBlock_;
    releaseBlock();
    if (self_->wait != Wait::kNone) suspend();
  }

  // All lanes of `mask` meet; returns what each gave.
  const uint64_t* meet(Wait wait, unsigned mask, uint64_t given) {
    const int first = self_->linear & ~31, lane = self_->linear & 31;
    if ((mask >> lane & 1) == 0) {
      fail("calls " + std::string(waitName(wait)) + " with a mask that lacks its own lane " +
           std::to_string(lane));
    }
    self_->wait = wait;
    self_->mask = mask;
    self_->given = given;
    for (int i = 0; i < 32; ++i) {
      if ((mask >> i & 1) == 0) continue;
      const size_t other = size_t(first) + i;
      if (other >= threads_.size() || threads_[other].ended) {
        fail("waits in " + std::string(waitName(wait)) + " for lane " + std::to_string(i) +
             ", which has ended or does not exist");
      }
      if (threads_[other].wait != wait || threads_[other].mask != mask) {
        suspend();
        return self_->gathered;
      }
    }
    uint64_t values[32];
    for (int i = 0; i < 32; ++i) values[i] = mask >> i & 1 ? threads_[first + i].given : ~0ull;
    for (int i = 0; i < 32; ++i) {
      if ((mask >> i & 1) == 0) continue;
      Thread& other = threads_[first + i];
      other.wait = Wait::kNone;
      std::memcpy(other.gathered, values, sizeof values);
      if (&other != self_) runnable_.push_back(&other);
    }
    return self_->gathered;
  }

  int lane() const { return self_->linear & 31; }

 private:
  // Shared memory of one block. What is written past its end is seen by the address sanitizer, or
  // else by the block's last act.
  struct Poisoned {
#if defined(__SANITIZE_ADDRESS__)
    static constexpr size_t kGuard = 0;
#else
    static constexpr size_t kGuard = 256;
#endif
    Poisoned(const void* where, size_t count) : place(where), bytes(count) {
      memory = static_cast<unsigned char*>(::operator new(bytes + kGuard, std::align_val_t{16}));
      poison();
    }
    ~Poisoned() { ::operator delete(memory, std::align_val_t{16}); }
    Poisoned(const Poisoned&) = delete;
    Poisoned& operator=(const Poisoned&) = delete;
    void poison() { std::memset(memory, 0xFF, bytes + kGuard); }
    bool kept() const {
      for (size_t i = 0; i < kGuard; ++i) {
        if (memory[bytes + i] != 0xFF) return false;
      }
      return true;
    }
    const void* place;
    size_t bytes;
    unsigned char* memory;
  };

  bool runBlock() {
    for (const auto& each : shared_) each->poison();
    dynamic_->poison();
    runnable_.clear();
    waitingForBlock_ = 0;
    alive_ = int(threads_.size());
    for (int i = 0; i < alive_; ++i) {
      const unsigned x = blockDim_.x, y = blockDim_.y;
      Thread& thread = threads_[i];
      thread.index = {unsigned(i) % x, unsigned(i) / x % y, unsigned(i) / x / y};
      thread.linear = i;
      thread.fiber = nullptr;
      thread.ended = false;
      thread.wait = Wait::kNone;
      runnable_.push_back(&thread);
    }
    while (message_.empty() && (self_ = pick()) != nullptr) {
      if (self_->fiber == nullptr) self_->fiber = freeFiber();
      running_ = self_->fiber;
      running_->enterFrom(scheduler_);
    }
    if (message_.empty() && alive_ > 0) describeHang();
    bool kept = dynamic_->kept();
    for (const auto& each : shared_) kept = kept && each->kept();
    if (message_.empty() && !kept) message_ = "something wrote past the end of its shared memory";
    if (message_.empty()) return true;
    const std::string message = "emulated launch, block (" + std::to_string(blockIndex_.x) + ", " +
                                std::to_string(blockIndex_.y) + ", " +
                                std::to_string(blockIndex_.z) + "), " + message_;
    message_.clear();
    free_.clear();  // fibers that stand in the middle of the kernel are of no more use
    fibers_.clear();
    if (settings().fault == nullptr) {
      std::fprintf(stderr, "%s\n", message.c_str());
      std::abort();
    }
    settings().fault(message.c_str());
    return false;
  }

  Thread* pick() {
    if (runnable_.empty()) return nullptr;
    std::swap(runnable_[random_.below(runnable_.size())], runnable_.back());
    Thread* thread = runnable_.back();
    runnable_.pop_back();
    return thread;
  }

  Fiber* freeFiber() {
    if (free_.empty()) {
      fibers_.push_back(std::make_unique<Fiber>(&Machine::fiberMain));
      return fibers_.back().get();
    }
    Fiber* fiber = free_.back();
    free_.pop_back();
    return fiber;
  }

  // A fiber runs threads one after another for as long as they end without waiting: most kernels
  // never switch.
  static void fiberMain() {
    Machine& machine = current();
    Fiber* const fiber = machine.running_;
    fiber->arrived();
    for (;;) {
      machine.body_(machine.context_);
      machine.self_->ended = true;
      machine.self_->fiber = nullptr;
      --machine.alive_;
      machine.releaseBlock();
      Thread* next = machine.pick();
      if (next != nullptr && next->fiber == nullptr) {
        next->fiber = fiber;
        machine.self_ = next;
        continue;
      }
      if (next != nullptr) machine.runnable_.push_back(next);
      machine.free_.push_back(fiber);
      machine.scheduler_.enterFrom(*fiber);
    }
  }

  void suspend() {
    Thread* const self = self_;
    scheduler_.enterFrom(*self->fiber);
    self_ = self;
  }

  // Threads that have ended no longer count, as on the device.
  void releaseBlock() {
    if (waitingForBlock_ == 0 || waitingForBlock_ < alive_) return;
    waitingForBlock_ = 0;
    for (Thread& thread : threads_) {
      if (thread.wait != Wait::kBlock) continue;
      thread.wait = Wait::kNone;
      if (&thread != self_ || thread.ended) runnable_.push_back(&thread);
    }
  }

  std::string nameOf(const Thread& thread) const {
    return "thread (" + std::to_string(thread.index.x) + ", " + std::to_string(thread.index.y) +
           ", " + std::to_string(thread.index.z) + ")";
  }

  // Never returns: the thread is left where it stands.
  void fail(const std::string& what) {
    message_ = nameOf(*self_) + " " + what;
    suspend();
    std::abort();
  }

  void describeHang() {
    message_ = "no thread can go on:";
    for (const Thread& thread : threads_) {
      if (thread.ended) continue;
      message_.append(" ")
          .append(nameOf(thread))
          .append(" waits in ")
          .append(waitName(thread.wait));
      if (thread.wait != Wait::kBlock) message_ += " mask " + std::to_string(thread.mask);
      message_ += ";";
      if (message_.size() > 400) break;
    }
  }

  dim3 gridDim_, blockDim_;
  uint3 blockIndex_ = {};
  void (*body_)(void*) = nullptr;
  void* context_ = nullptr;
  Random random_{0};
  uint64_t seed_ = 0, launches_ = 0;
  std::vector<std::unique_ptr<Poisoned>> shared_;
  std::unique_ptr<Poisoned> dynamic_;
  std::vector<Thread> threads_;
  std::vector<Thread*> runnable_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> free_;
  Fiber scheduler_;
  Fiber* running_ = nullptr;
  Thread* self_ = nullptr;
  int alive_ = 0, waitingForBlock_ = 0;
  std::string message_;
};

template <typename T>
uint64_t toBits(T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <typename T>
T fromBits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// `source` is a lane, or negative where the caller keeps its own value.
template <typename T, typename Source>
T shuffle(unsigned mask, T value, int width, Source source) {
  Machine& machine = Machine::current();
  const uint64_t* gathered = machine.meet(Wait::kShuffle, mask, toBits(value));
  const int lane = machine.lane(), first = lane & ~(width - 1);
  const int from = source(lane, first, first + width);
  return from < 0 ? value : fromBits<T>(gathered[from]);
}

template <typename... Parameters>
struct Launch {
  void (*kernel)(Parameters...);
  dim3 grid, block;
  size_t sharedBytes;
  std::tuple<Parameters...> arguments;

  bool run() {
    auto body = [this] { std::apply(kernel, arguments); };
    return Machine::current().run(grid, block, sharedBytes, body);
  }
};

}  // namespace resnet::cuda::simt

#define threadIdx (::resnet::cuda::simt::Machine::current().threadIndex())
#define blockIdx (::resnet::cuda::simt::Machine::current().blockIndex())
#define blockDim (::resnet::cuda::simt::Machine::current().blockDimension())
#define gridDim (::resnet::cuda::simt::Machine::current().gridDimension())

#define RESNET_UNROLL
#define RESNET_SHARED(type, name, count)             \
  static const char name##Place_ = 0;                \
  type(&name)[count] = *static_cast<type(*)[count]>( \
      ::resnet::cuda::simt::Machine::current().shared(&name##Place_, sizeof(type) * (count)))
#define RESNET_SHARED_DYNAMIC(type, name) \
  type* const name = static_cast<type*>(::resnet::cuda::simt::Machine::current().sharedDynamic())
#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif

inline void __syncthreads() { ::resnet::cuda::simt::Machine::current().syncBlock(); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) {
  ::resnet::cuda::simt::Machine::current().meet(::resnet::cuda::simt::Wait::kWarp, mask, 0);
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return ::resnet::cuda::simt::shuffle(
      mask, value, width, [=](int, int first, int) { return first + (source & (width - 1)); });
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int laneMask, int width = 32) {
  return ::resnet::cuda::simt::shuffle(mask, value, width, [=](int lane, int, int end) {
    const int from = lane ^ laneMask;
    return from < end ? from : -1;
  });
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return ::resnet::cuda::simt::shuffle(mask, value, width, [=](int lane, int, int end) {
    return lane + int(delta) < end ? lane + int(delta) : -1;
  });
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return ::resnet::cuda::simt::shuffle(mask, value, width, [=](int lane, int first, int) {
    return lane - int(delta) >= first ? lane - int(delta) : -1;
  });
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const uint64_t* votes = ::resnet::cuda::simt::Machine::current().meet(
      ::resnet::cuda::simt::Wait::kBallot, mask, predicate != 0);
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) != 0 && votes[i] != 0) result |= 1u << i;
  }
  return result;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == mask;
}
inline int __float_as_int(float value) { return int(::resnet::cuda::simt::toBits(value)); }
inline float __int_as_float(int bits) {
  return ::resnet::cuda::simt::fromBits<float>(uint64_t(unsigned(bits)));
}

namespace resnet::cuda {

template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes,
                   cudaStream_t stream, Arguments... arguments) {
  // The limits of every device from sm_75 on, without an attribute set on the kernel.
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7FFFFFFFu || grid.y > 65535 ||
      grid.z > 65535 || block.x == 0 || block.y == 0 || block.z == 0 || block.z > 64 ||
      uint64_t(block.x) * block.y * block.z > 1024) {
    return cudaErrorInvalidConfiguration;
  }
  if (sharedBytes > size_t{48} << 10) return cudaErrorInvalidValue;
  using Launch = simt::Launch<Parameters...>;
  Launch call{kernel, grid, block, sharedBytes, {Parameters(arguments)...}};
  if (resnetSimulatedEnqueue == nullptr) {
    return call.run() ? cudaSuccess : cudaErrorLaunchFailure;
  }
  auto* const queued = new Launch(std::move(call));
  return resnetSimulatedEnqueue(
      stream, [](void* context) { static_cast<Launch*>(context)->run(); }, queued,
      [](void* context) { delete static_cast<Launch*>(context); });
}

}  // namespace resnet::cuda
