// How a test sets up and looks into the simulated device: a libcudart.so.13 and a libcudnn.so.9 that compute on the host
// and are stricter than a GPU.
//
// What traps: memory of the device is NaN until written and cannot be touched outside device work; allocations end at a
// guard page and have red zones; nothing on a stream runs before something waits for it, so that a missing wait reads NaN;
// host functions may not call CUDA; copies to pageable memory are told apart from pinned ones; objects are counted. What is
// wrong but would pass unseen on a GPU is a violation: printed, counted, and kept as text.
//
// A process that does not call these functions is told by its environment: RESNET_SIMULATED_DEVICES (1),
// RESNET_SIMULATED_DRIVER (13000), RESNET_SIMULATED_DRIVER_BUILD (580.95.05), RESNET_SIMULATED_CUDNN (92400),
// RESNET_SIMULATED_NVML (0, of ResnetSimulatedNvml).
//
// All functions may be called from any thread. Reset first: settings and counts are those of the process.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

extern "C" {

// One device of 8 GiB, driver and runtime 13.0, cuDNN 9.24.0, no failures. Live objects are forgotten, without a leak.
void resnetSimulatedReset();

void resnetSimulatedSetDeviceCount(int count);
void resnetSimulatedSetCapability(int device, int major);  // 9
void resnetSimulatedSetDriverVersion(int version);         // 13000; 0: there is no driver
void resnetSimulatedSetCudnnVersion(size_t version);       // 92400
void resnetSimulatedSetMemoryLimit(size_t bytes);          // of every device, in all
// What work takes on the simulated clock, times so much; 1. And the size of the L2 cache that a device states; 50 MiB. An
// engine's race repeats short work until its timing is long enough, in as many buffers as cover that cache.
void resnetSimulatedSetPace(double times);
void resnetSimulatedSetL2Bytes(size_t bytes);
// 0: as late as possible, in the order of need. Otherwise work of all streams runs in a random order that their waits allow.
void resnetSimulatedSetSchedule(uint64_t seed);

// Calls into CUDA and cuDNN since reset or the last resnetSimulatedFailAt, the first being 1. Calls that cannot fail
// (cudaGetLastError, cudnnGetVersion, texts) do not count.
uint64_t resnetSimulatedCallCount();
const char*
resnetSimulatedFailedCall();  // the name of the call that was made to fail; "" when none was
// Call n from now fails with `code`, once; 0: none does. A call that frees does so all the same and returns the code, as one
// that reports an earlier failure would. A code after which a real context is gone (cudaErrorIllegalAddress, ...) loses the
// current device. cuDNN's calls fail with the status nearest to `code`.
void resnetSimulatedFailAt(uint64_t n, cudaError_t code);
// Piece n of device work from now (a kernel, a copy, ...) fails when it runs: the device is lost, and the next wait says so.
void resnetSimulatedFailWorkAt(uint64_t n, cudaError_t code);
uint64_t
resnetSimulatedWorkCount();  // pieces run since reset or the last resnetSimulatedFailWorkAt

void resnetSimulatedSetPools(bool supported);  // whether devices have memory pools; they do
// What the driver's management library (libnvidia-ml.so.1) does: works, does not start, does not count memory by process, has
// other numbers for processes, knows the device as a slice.
enum ResnetSimulatedNvml {
  kNvmlWorks,
  kNvmlFails,
  kNvmlCountsNothing,
  kNvmlForeignNumbers,
  kNvmlSlice
};
void resnetSimulatedSetNvml(int how);
int resnetSimulatedNvml();
const char* resnetSimulatedDriverBuild();  // that the library tells

size_t resnetSimulatedMemoryUsed(int device);
size_t resnetSimulatedPeakMemory(int device);
size_t resnetSimulatedPageableCopies();  // asynchronous copies from or to memory that is not pinned
// Objects not yet released: allocations, pinned memory, streams, events, graphs, handles and descriptors of cuDNN. `text` gets
// them by kind, for people; may be null.
size_t resnetSimulatedLeaks(char* text, size_t bytes);
size_t resnetSimulatedViolations(char* text, size_t bytes);

}  // extern "C"
