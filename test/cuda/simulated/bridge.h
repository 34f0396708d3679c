// What the simulated cuDNN asks of the simulated runtime: libraries of their own, one machine.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

extern "C" {
// Counts a call, and says when it must fail; with `plain`, also where no device works.
cudaError_t resnetSimulatedCall(const char* name, int plain);
// Work for the stream, as resnetSimulatedEnqueue (cuda/emulated/stream.h); `name` must outlive it.
cudaError_t resnetSimulatedEnqueueTimed(const char* name, cudaStream_t stream, double microseconds,
                                        void (*run)(void*), void* context, void (*drop)(void*));
// Whether the range lies in one allocation of a device. Not from device work.
int resnetSimulatedHolds(const void* pointer, size_t bytes);
int resnetSimulatedStream(cudaStream_t stream);           // whether it exists
void resnetSimulatedCount(const char* kind, int change);  // live objects
size_t resnetSimulatedCudnnVersion();
void resnetSimulatedViolate(const char* text);
void resnetSimulatedViolateInWork(const char* text);
}
