// Where emulated kernel launches go. The simulated CUDA runtime (test/cuda/simulated) defines this
// function: it queues the launch on the stream, or records it while the stream is captured, and
// runs it when the stream runs, possibly more than once (replay). Without it, as in the kernels'
// own tests, the symbol is null and launches run at once.
#pragma once

#include <cuda_runtime_api.h>

extern "C" {
// Takes the context over: run(context) once per execution; drop(context) once, when it can never run
// again, which is before the return where that is an error.
__attribute__((weak)) cudaError_t resnetSimulatedEnqueue(cudaStream_t stream, void (*run)(void*),
                                                         void* context, void (*drop)(void*));
}
