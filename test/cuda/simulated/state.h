// The simulated machine: devices, memory, queued work, objects. One for the process, behind one lock.
#pragma once

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "test/cuda/simulated/order.h"

namespace resnet::simulated {

// What a piece of work does; shared by a graph and all its launches. Its context goes when the last of them does.
struct Work {
  const char* name = "";
  std::function<cudaError_t()> run;  // empty: a marker
  bool onHost = false;               // a host function: runs without the lock, device memory closed
  double microseconds = 1;           // on the simulated clock
  bool copies = false;               // between the host and a device, or within one
};

// One queued piece of work.
struct Operation {
  int device = 0;
  std::shared_ptr<const Work> work;
  std::vector<std::shared_ptr<Operation>> after;
  bool done = false;
  double finished = 0;  // microseconds on the device's clock
  // Of order.cc, once it runs: how many ran before, counted from 1, and on which track.
  uint64_t number = 0;
  size_t track = 0;
};
using OperationPointer = std::shared_ptr<Operation>;

struct Node {
  std::shared_ptr<const Work> work;
  std::vector<int> after;
};

struct Capture {
  CUstream_st* origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  std::vector<Node> nodes;
  bool invalid = false;
};

// A range of device or of pinned host memory.
struct Allocation {
  uint8_t* data = nullptr;
  size_t bytes = 0;    // as asked for
  size_t charged = 0;  // as counted against the device's memory
  uint8_t* mapping = nullptr;
  size_t mapped = 0;
  int device = 0;
  uint64_t number = 0;
  // Of a pool: not before its stream has come to it, and not once it was given back.
  CUmemPoolHandle_st* pool = nullptr;
  bool ready = true, freed = false;
};

struct Device {
  int major = 9;  // of its compute capability
  cudaError_t lost = cudaSuccess;
  size_t used = 0, peak = 0;
  double clock = 0;
  std::map<uintptr_t, Allocation> allocations;  // by first byte
};

struct State {
  std::mutex mutex;
  std::condition_variable changed;
  bool busy = false;  // a thread runs work

  std::vector<Device> devices;
  int driverVersion = 13000;
  std::string driverBuild = "580.95.05";
  size_t cudnnVersion = 92400;
  size_t memoryLimit = size_t{8} << 30;
  double pace = 1;
  int nvml = 0;
  size_t l2Bytes = size_t{50} << 20;
  uint64_t scheduleSeed = 0;
  std::mt19937_64 random;

  std::map<uintptr_t, Allocation> pinned;
  std::set<CUstream_st*> streams;
  std::set<CUevent_st*> events;
  std::set<CUmemPoolHandle_st*> pools;
  bool poolsSupported = true;
  std::set<CUgraph_st*> graphs;
  std::set<CUgraphExec_st*> executables;
  std::map<std::string, int64_t> foreign;  // objects of cuDNN, by kind
  std::list<OperationPointer> pending;     // in the order of their enqueueing
  std::map<int, OperationPointer> defaultTail;
  std::set<Capture*> captures;
  std::list<OperationPointer> wanted;  // for the device's own thread: up to a host function
  bool deviceThread = false;
  int hostFunctions = 0;  // being run

  uint64_t calls = 0, failCall = 0, works = 0, failWork = 0, allocationNumber = 0;
  cudaError_t failCallCode = cudaSuccess, failWorkCode = cudaSuccess;
  std::string failedCall;
  size_t pageableCopies = 0;
  size_t violations = 0;
  std::string violationText;
};
State& state();

// The machine's lock. What is done with it held is the machine's own, and hidden from ThreadSanitizer.
class Lock : private Hidden, public std::unique_lock<std::mutex> {
 public:
  using std::unique_lock<std::mutex>::unique_lock;
};

extern thread_local int currentDevice;
extern thread_local cudaError_t lastError;
extern thread_local bool inHostFunction;

bool losesDevice(cudaError_t code);
void violation(const std::string& text);  // with the lock held

// The opening of every entry point: takes the lock, counts the call, and says when it must fail.
class Entry {
 public:
  enum Kind { kPlain, kDevice, kRelease };  // kDevice needs a device that is there and not lost
  explicit Entry(const char* name, Kind kind = kDevice);
  bool ok() const { return code_ == cudaSuccess; }
  cudaError_t code() const { return code_; }
  // Leaves with `code`; an earlier failure wins.
  cudaError_t leave(cudaError_t code = cudaSuccess);
  Lock& lock() { return lock_; }
  Device& device() { return state().devices[size_t(currentDevice)]; }

 private:
  Lock lock_;
  cudaError_t code_ = cudaSuccess;
};

// memory.cc, with the lock held
cudaError_t allocateDevice(int device, size_t bytes, void** pointer);
cudaError_t allocatePinned(size_t bytes, void** pointer);
bool releaseDevice(void* pointer);
bool releasePinned(void* pointer);
const Allocation* findDevice(const void* pointer, size_t bytes);  // that holds all of the range
const Allocation* findPinned(const void* pointer, size_t bytes);
bool overlapsDevice(const void* pointer,
                    size_t bytes);  // touches the region where device memory lies
void openMemory(int device);        // for device work
void closeMemory(int device);       // and checks the red zones
void forgetMemory();

// schedule.cc, with the lock held
OperationPointer enqueue(CUstream_st* stream, std::shared_ptr<const Work> work);
void drive(Lock& lock, const OperationPointer& until);
void driveDevice(Lock& lock, int device);
// Drives to it, and puts what the calling thread does next behind it.
void await(Lock& lock, const OperationPointer& until);
// When `stream` captures, the capture; null otherwise.
Capture* captureOf(CUstream_st* stream);
// A call that no capture allows invalidates those it disturbs.
cudaError_t refuseInCapture(CUstream_st* stream);
cudaError_t refuseUnsafe();                          // calls that a capturing thread must not make
cudaError_t submit(CUstream_st* stream, Work work);  // enqueues or records
bool validStream(CUstream_st* stream);

}  // namespace resnet::simulated

struct CUstream_st {
  int device = 0;
  bool blocking = true;  // waits for the default stream
  resnet::simulated::OperationPointer tail;
  resnet::simulated::Capture* capture = nullptr;
  std::vector<int> captureTail;
};

struct CUevent_st {
  int device = 0;
  bool timing = true;
  resnet::simulated::OperationPointer operation;  // of the last record
  resnet::simulated::Capture* capture = nullptr;  // recorded while its stream captured
  std::vector<int> captureTail;
};

struct CUmemPoolHandle_st {
  int device = 0;
};

struct CUgraph_st {
  int device = 0;
  std::vector<resnet::simulated::Node> nodes;
};

struct CUgraphExec_st {
  int device = 0;
  std::vector<resnet::simulated::Node> nodes;
  resnet::simulated::OperationPointer last;
};
