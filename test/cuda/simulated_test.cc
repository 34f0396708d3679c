// The simulated device itself: every trap is shown to trap, next to the right use that passes. What faults is tried in a
// child process.
#include <cuda_runtime_api.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>

#include "cuda/emulated/stream.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"

namespace {

constexpr size_t kFloats = 64, kBytes = kFloats * sizeof(float);

float* deviceFloats(size_t bytes = kBytes) {
  void* pointer = nullptr;
  CHECK_EQ(cudaMalloc(&pointer, bytes), cudaSuccess);
  return static_cast<float*>(pointer);
}
float* pinnedFloats(size_t bytes = kBytes) {
  void* pointer = nullptr;
  CHECK_EQ(cudaHostAlloc(&pointer, bytes, cudaHostAllocDefault), cudaSuccess);
  return static_cast<float*>(pointer);
}
cudaStream_t newStream(unsigned flags = cudaStreamNonBlocking) {
  cudaStream_t stream = nullptr;
  CHECK_EQ(cudaStreamCreateWithFlags(&stream, flags), cudaSuccess);
  return stream;
}
cudaEvent_t newEvent() {
  cudaEvent_t event = nullptr;
  CHECK_EQ(cudaEventCreateWithFlags(&event, cudaEventDefault), cudaSuccess);
  return event;
}

// A kernel: runs `body`, counts how often contexts were dropped.
int dropped = 0;
template <typename Body>
cudaError_t launch(cudaStream_t stream, Body body) {
  return resnetSimulatedEnqueue(
      stream, [](void* context) { (*static_cast<Body*>(context))(); }, new Body(body),
      [](void* context) {
        ++dropped;
        delete static_cast<Body*>(context);
      });
}
cudaError_t fill(cudaStream_t stream, float* data, float value, size_t count = kFloats) {
  return launch(stream, [=] {
    for (size_t i = 0; i < count; ++i) data[i] = value;
  });
}
cudaError_t addOne(cudaStream_t stream, float* data) {
  return launch(stream, [=] {
    for (size_t i = 0; i < kFloats; ++i) data[i] += 1;
  });
}
float firstOf(const float* device) {
  float value = -1;
  CHECK_EQ(cudaMemcpy(&value, device, sizeof value, cudaMemcpyDeviceToHost), cudaSuccess);
  return value;
}

// The signal that `body` dies of in a child process; 0 when it lives.
template <typename Body>
int signalOf(Body body) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(3);
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

size_t leaks() { return resnetSimulatedLeaks(nullptr, 0); }
std::string leakText() {
  char text[2000] = "";
  resnetSimulatedLeaks(text, sizeof text);
  return text;
}
size_t violations() { return resnetSimulatedViolations(nullptr, 0); }
std::string violationText() {
  char text[4000] = "";
  resnetSimulatedViolations(text, sizeof text);
  return text;
}

}  // namespace

TEST("simulated: memory that nobody wrote is NaN, on the device and where it is pinned") {
  resnetSimulatedReset();
  float* device = deviceFloats();
  float* pinned = pinnedFloats();
  CHECK(std::isnan(firstOf(device)));
  CHECK(std::isnan(pinned[0]));
  cudaFree(device);
  cudaFreeHost(pinned);
  CHECK_EQ(leaks(), 0u);
}

TEST("simulated: the host cannot touch memory of the device, device work can") {
  resnetSimulatedReset();
  float* device = deviceFloats();
  CHECK_EQ(signalOf([&] { device[0] = 1; }), SIGSEGV);
  CHECK_EQ(signalOf([&] {
             fill(nullptr, device, 1);
             cudaDeviceSynchronize();
           }),
           0);
  CHECK_EQ(signalOf([&] {
             fill(nullptr, device, 1);
             cudaDeviceSynchronize();
             device[0] = 1;
           }),
           SIGSEGV);
  cudaFree(device);
}

TEST("simulated: device work cannot touch freed memory or another device's") {
  resnetSimulatedReset();
  resnetSimulatedSetDeviceCount(2);
  float* freed = deviceFloats();
  cudaFree(freed);
  CHECK_EQ(signalOf([&] {
             fill(nullptr, freed, 1);
             cudaDeviceSynchronize();
           }),
           SIGSEGV);
  cudaSetDevice(1);
  float* other = deviceFloats();
  cudaSetDevice(0);
  float* own = deviceFloats();
  CHECK_EQ(signalOf([&] {
             fill(nullptr, other, 1);
             cudaDeviceSynchronize();
           }),
           SIGSEGV);
  cudaFree(other);
  cudaFree(own);
}

TEST("simulated: writing past an allocation is seen, far past it faults") {
  resnetSimulatedReset();
  float* device = deviceFloats(kBytes - 16);
  fill(nullptr, device, 1, kFloats);
  CHECK_EQ(violations(), 0u);  // nothing has run yet
  cudaDeviceSynchronize();
  CHECK_EQ(violations(), 1u);
  CHECK_HAS(violationText(), "past the end");
  launch(nullptr, [=] { device[-1] = 0; });
  cudaDeviceSynchronize();
  CHECK_EQ(violations(), 2u);
  CHECK_HAS(violationText(), "before the beginning");
  CHECK_EQ(signalOf([&] {
             fill(nullptr, device, 1, kFloats + 1);
             cudaDeviceSynchronize();
           }),
           SIGSEGV);
  cudaFree(device);
}

TEST("simulated: nothing runs before something waits for it") {
  resnetSimulatedReset();
  cudaStream_t stream = newStream();
  float* device = deviceFloats();
  float* pinned = pinnedFloats();
  fill(stream, device, 3);
  cudaMemcpyAsync(pinned, device, kBytes, cudaMemcpyDeviceToHost, stream);
  CHECK(std::isnan(pinned[0]));  // what a missing wait reads
  CHECK_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  CHECK_EQ(pinned[0], 3.0f);
  fill(stream, device, 4);
  CHECK_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
  CHECK_EQ(cudaStreamQuery(stream), cudaSuccess);
  CHECK_EQ(firstOf(device), 4.0f);
  cudaFree(device);
  cudaFreeHost(pinned);
  cudaStreamDestroy(stream);
  CHECK_EQ(leaks(), 0u);
}

TEST(
    "simulated: a stream that does not wait for another reads NaN, with an event it reads the "
    "result") {
  resnetSimulatedReset();
  cudaStream_t copies = newStream(), compute = newStream();
  cudaEvent_t copied = newEvent();
  float *from = deviceFloats(), *to = deviceFloats();
  float* pinned = pinnedFloats();
  pinned[0] = 5;
  for (const bool waits : {false, true}) {
    cudaMemcpyAsync(from, pinned, kBytes, cudaMemcpyHostToDevice, copies);
    cudaEventRecord(copied, copies);
    if (waits) cudaStreamWaitEvent(compute, copied, 0);
    launch(compute, [=] { to[0] = from[0]; });
    cudaStreamSynchronize(compute);
    const float got = firstOf(to);
    CHECK(waits ? got == 5 : std::isnan(got));
    if (!waits) continue;
    cudaStreamSynchronize(copies);
  }
  cudaFree(from);
  cudaFree(to);
  cudaFreeHost(pinned);
  cudaEventDestroy(copied);
  cudaStreamDestroy(copies);
  cudaStreamDestroy(compute);
  CHECK_EQ(leaks(), 0u);
}

TEST("simulated: a random schedule runs what the late one leaves, and keeps every wait") {
  int early = 0;
  for (uint64_t seed = 1; seed <= 64; ++seed) {
    resnetSimulatedReset();
    resnetSimulatedSetSchedule(seed);
    cudaStream_t a = newStream(), b = newStream();
    cudaEvent_t event = newEvent();
    float *x = deviceFloats(), *y = deviceFloats();
    // A buffer overwritten too early: b does not wait for a's reading.
    fill(a, x, 1);
    cudaEventRecord(event, a);
    cudaStreamWaitEvent(b, event, 0);
    launch(a, [=] { y[0] = x[0]; });
    fill(b, x, 2);
    cudaStreamSynchronize(a);
    early += firstOf(y) == 2 ? 1 : 0;
    cudaStreamSynchronize(b);
    CHECK_EQ(firstOf(x), 2.0f);
  }
  CHECK(early > 0);
  CHECK(early < 64);
}

TEST("simulated: the default stream waits for blocking streams and they for it, not for others") {
  resnetSimulatedReset();
  cudaStream_t blocking = newStream(cudaStreamDefault), free = newStream();
  float *x = deviceFloats(), *y = deviceFloats();
  fill(blocking, x, 1);
  fill(free, y, 1);
  float got[2] = {};
  cudaMemcpy(&got[0], x, 4, cudaMemcpyDeviceToHost);
  cudaMemcpy(&got[1], y, 4, cudaMemcpyDeviceToHost);
  CHECK_EQ(got[0], 1.0f);
  CHECK(std::isnan(got[1]));
}

TEST(
    "simulated: pinned memory is read when the copy runs, pageable memory at once, and told "
    "apart") {
  resnetSimulatedReset();
  cudaStream_t stream = newStream();
  float* device = deviceFloats();
  float* pinned = pinnedFloats();
  float pageable[kFloats] = {1};
  pinned[0] = 1;
  cudaMemcpyAsync(device, pinned, kBytes, cudaMemcpyHostToDevice, stream);
  CHECK_EQ(resnetSimulatedPageableCopies(), 0u);
  pinned[0] = 2;  // too early
  cudaStreamSynchronize(stream);
  CHECK_EQ(firstOf(device), 2.0f);
  cudaMemcpyAsync(device, pageable, kBytes, cudaMemcpyHostToDevice, stream);
  pageable[0] = 7;
  cudaStreamSynchronize(stream);
  CHECK_EQ(firstOf(device), 1.0f);
  cudaMemcpyAsync(pageable, device, kBytes, cudaMemcpyDeviceToHost, stream);  // blocks
  CHECK_EQ(pageable[0], 1.0f);
  CHECK_EQ(resnetSimulatedPageableCopies(), 2u);
}

TEST("simulated: copies with wrong ranges or directions are refused and reported") {
  resnetSimulatedReset();
  float* device = deviceFloats();
  float host[kFloats] = {};
  CHECK_EQ(cudaMemcpy(device, host, kBytes + 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  CHECK_EQ(cudaMemcpy(host, device, kBytes, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  CHECK_EQ(violations(), 2u);
  CHECK_EQ(cudaGetLastError(), cudaErrorInvalidValue);
  CHECK_EQ(cudaGetLastError(), cudaSuccess);
}

TEST("simulated: a captured graph runs when launched, as often as it is launched, with its forks") {
  resnetSimulatedReset();
  dropped = 0;
  cudaStream_t stream = newStream(), side = newStream();
  cudaEvent_t fork = newEvent(), join = newEvent();
  float* x = deviceFloats();
  float* y = deviceFloats();
  fill(stream, x, 0);
  fill(stream, y, 0);
  cudaStreamSynchronize(stream);
  CHECK_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  addOne(stream, x);
  cudaEventRecord(fork, stream);
  cudaStreamWaitEvent(side, fork, 0);
  addOne(side, y);
  cudaEventRecord(join, side);
  CHECK_EQ(cudaEventQuery(join), cudaErrorCapturedEvent);
  cudaStreamWaitEvent(stream, join, 0);
  launch(stream, [=] { y[1] = x[0] + y[0]; });
  cudaGraph_t graph = nullptr;
  CHECK_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  cudaGraphExec_t executable = nullptr;
  CHECK_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  cudaGraphDestroy(graph);
  cudaStreamSynchronize(stream);
  CHECK_EQ(firstOf(x), 0.0f);  // capturing ran nothing
  for (int i = 0; i < 3; ++i) CHECK_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
  cudaStreamSynchronize(stream);
  CHECK_EQ(firstOf(x), 3.0f);
  CHECK_EQ(firstOf(y + 1), 6.0f);
  CHECK_EQ(dropped, 2);  // the two fills; the graph keeps its own
  cudaGraphExecDestroy(executable);
  CHECK_EQ(dropped, 5);
  cudaFree(x);
  cudaFree(y);
  cudaEventDestroy(fork);
  cudaEventDestroy(join);
  cudaStreamDestroy(stream);
  cudaStreamDestroy(side);
  CHECK_EQ(leaks(), 0u);
  CHECK_EQ(violations(), 0u);
}

TEST("simulated: what a capture forbids is refused and spoils it") {
  resnetSimulatedReset();
  cudaStream_t stream = newStream(), side = newStream();
  cudaEvent_t event = newEvent();
  float* device = deviceFloats();
  float pageable[kFloats] = {};
  cudaGraph_t graph = nullptr;
  const auto spoiled = [&](auto body, cudaError_t expected,
                           cudaError_t end = cudaErrorStreamCaptureInvalidated) {
    CHECK_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    fill(stream, device, 1);
    CHECK_EQ(body(), expected);
    CHECK_EQ(cudaStreamEndCapture(stream, &graph), end);
    CHECK(graph == nullptr);
  };
  spoiled([&] { return cudaStreamSynchronize(stream); }, cudaErrorStreamCaptureUnsupported);
  spoiled([&] { return cudaStreamQuery(stream); }, cudaErrorStreamCaptureUnsupported);
  spoiled([&] { return cudaDeviceSynchronize(); }, cudaErrorStreamCaptureUnsupported);
  spoiled(
      [&] {
        void* pointer;
        return cudaMalloc(&pointer, 4);
      },
      cudaErrorStreamCaptureUnsupported);
  spoiled([&] { return cudaMemcpyAsync(device, pageable, kBytes, cudaMemcpyHostToDevice, stream); },
          cudaErrorStreamCaptureUnsupported);
  spoiled(
      [&] {
        cudaEventRecord(event, side);  // from outside
        return cudaStreamWaitEvent(stream, event, 0);
      },
      cudaErrorStreamCaptureIsolation);
  spoiled(
      [&] {
        cudaEventRecord(event, stream);
        cudaStreamWaitEvent(side, event, 0);
        return fill(side, device, 1);  // never joined
      },
      cudaSuccess, cudaErrorStreamCaptureUnjoined);
  // Afterwards all is as before.
  fill(stream, device, 9);
  CHECK_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  CHECK_EQ(firstOf(device), 9.0f);
}

TEST("simulated: a host function comes without a wait, in order, and may not call CUDA") {
  resnetSimulatedReset();
  struct Seen {
    float* pinned;
    float value = 0;
    cudaError_t code = cudaSuccess;
    std::atomic<bool> done{false};
  };
  cudaStream_t stream = newStream();
  float* device = deviceFloats();
  Seen seen{pinnedFloats()};
  fill(stream, device, 6);
  cudaMemcpyAsync(seen.pinned, device, kBytes, cudaMemcpyDeviceToHost, stream);
  CHECK_EQ(cudaLaunchHostFunc(
               stream,
               [](void* context) {
                 auto* into = static_cast<Seen*>(context);
                 into->value = into->pinned[0];
                 into->code = cudaDeviceSynchronize();
                 into->done = true;
               },
               &seen),
           cudaSuccess);
  while (!seen.done) std::this_thread::yield();
  CHECK_EQ(seen.value, 6.0f);
  CHECK_EQ(seen.code, cudaErrorNotPermitted);
  CHECK_EQ(violations(), 1u);
  CHECK_EQ(signalOf([] {}), 0);
}

TEST("simulated: the memory cap counts, is per device, and frees") {
  resnetSimulatedReset();
  resnetSimulatedSetDeviceCount(2);
  resnetSimulatedSetMemoryLimit(1 << 20);
  void *a = nullptr, *b = nullptr;
  CHECK_EQ(cudaMalloc(&a, 700 << 10), cudaSuccess);
  CHECK_EQ(cudaMalloc(&b, 700 << 10), cudaErrorMemoryAllocation);
  CHECK_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  CHECK_EQ(total, size_t{1} << 20);
  CHECK_EQ(free, size_t{324} << 10);
  cudaSetDevice(1);
  CHECK_EQ(cudaMalloc(&b, 700 << 10), cudaSuccess);
  cudaFree(b);
  cudaSetDevice(0);
  cudaFree(a);
  CHECK_EQ(cudaMalloc(&a, 1 << 20), cudaSuccess);
  CHECK_EQ(resnetSimulatedPeakMemory(0), size_t{1} << 20);
  cudaFree(a);
  CHECK_EQ(resnetSimulatedMemoryUsed(0), 0u);
}

TEST("simulated: memory of a pool comes and goes in its stream's order") {
  resnetSimulatedReset();
  cudaMemPoolProps properties = {};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location = {cudaMemLocationTypeDevice, 0};
  cudaMemPool_t pool = nullptr;
  CHECK_EQ(cudaMemPoolCreate(&pool, &properties), cudaSuccess);
  cudaStream_t stream = newStream(), other = newStream();
  const auto allocate = [&] {
    void* pointer = nullptr;
    CHECK_EQ(cudaMallocFromPoolAsync(&pointer, kBytes, pool, stream), cudaSuccess);
    return static_cast<float*>(pointer);
  };
  float* data = allocate();
  CHECK_EQ(fill(stream, data, 3), cudaSuccess);
  CHECK_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  CHECK_EQ(firstOf(data), 3.0f);
  CHECK_EQ(fill(stream, data, 4), cudaSuccess);
  CHECK_EQ(cudaFreeAsync(data, stream), cudaSuccess);  // after that
  CHECK_EQ(resnetSimulatedMemoryUsed(0), size_t{256});
  CHECK_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  CHECK_EQ(resnetSimulatedMemoryUsed(0), size_t{0});
  // On another stream before it is there, and after it is gone.
  CHECK(signalOf([&] {
          fill(other, allocate(), 5);
          cudaStreamSynchronize(other);
        }) == SIGSEGV);
  CHECK(signalOf([&] {
          float* gone = allocate();
          cudaStreamSynchronize(stream);
          fill(other, gone, 5);
          cudaFreeAsync(gone, stream);
          cudaStreamSynchronize(stream);
          cudaStreamSynchronize(other);
        }) == SIGSEGV);
  CHECK_EQ(violationText(), std::string());
  CHECK_EQ(cudaFreeAsync(data, stream), cudaErrorInvalidValue);
  CHECK_HAS(violationText(), "freed before");
  CHECK_EQ(cudaMemPoolDestroy(pool), cudaSuccess);
  cudaStreamDestroy(stream);
  cudaStreamDestroy(other);
}

TEST("simulated: call n fails with the code asked for, once") {
  resnetSimulatedReset();
  float* device = deviceFloats();
  resnetSimulatedFailAt(2, cudaErrorLaunchOutOfResources);
  CHECK_EQ(fill(nullptr, device, 1), cudaSuccess);
  CHECK_EQ(fill(nullptr, device, 2), cudaErrorLaunchOutOfResources);
  CHECK_EQ(std::string(resnetSimulatedFailedCall()), "a kernel launch");
  CHECK_EQ(fill(nullptr, device, 3), cudaSuccess);
  CHECK_EQ(cudaDeviceSynchronize(), cudaSuccess);
  CHECK_EQ(resnetSimulatedCallCount(), 4u);
  resnetSimulatedFailAt(1, cudaErrorMemoryAllocation);
  CHECK_EQ(cudaFree(device), cudaErrorMemoryAllocation);
  CHECK_EQ(leaks(), 0u);  // freed all the same
}

TEST("simulated: a lost device stays lost, alone, and is said by the next wait") {
  resnetSimulatedReset();
  resnetSimulatedSetDeviceCount(2);
  cudaStream_t stream = newStream();
  float* device = deviceFloats();
  resnetSimulatedFailWorkAt(2, cudaErrorIllegalAddress);
  CHECK_EQ(fill(stream, device, 1), cudaSuccess);
  CHECK_EQ(fill(stream, device, 2), cudaSuccess);
  CHECK_EQ(fill(stream, device, 3), cudaSuccess);
  CHECK_EQ(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
  CHECK_EQ(fill(stream, device, 4), cudaErrorIllegalAddress);
  CHECK_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  CHECK_EQ(cudaGetLastError(), cudaErrorIllegalAddress);  // it does not go away
  CHECK_EQ(cudaSetDevice(1), cudaSuccess);
  float* other = deviceFloats();
  CHECK_EQ(fill(nullptr, other, 5), cudaSuccess);
  CHECK_EQ(firstOf(other), 5.0f);
  cudaFree(other);
  cudaSetDevice(0);
  CHECK_EQ(cudaFree(device), cudaErrorIllegalAddress);
  CHECK_EQ(cudaStreamDestroy(stream), cudaErrorIllegalAddress);
  CHECK_EQ(leaks(), 0u);
}

TEST("simulated: without a driver, with an old one, or without a device, calls say so") {
  resnetSimulatedReset();
  int count = -1, version = -1;
  resnetSimulatedSetDriverVersion(0);
  CHECK_EQ(cudaDriverGetVersion(&version), cudaSuccess);
  CHECK_EQ(version, 0);
  CHECK_EQ(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
  resnetSimulatedSetDriverVersion(12040);
  CHECK_EQ(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
  resnetSimulatedSetDriverVersion(13010);
  resnetSimulatedSetDeviceCount(0);
  CHECK_EQ(cudaGetDeviceCount(&count), cudaErrorNoDevice);
  resnetSimulatedSetDeviceCount(1);
  CHECK_EQ(cudaGetDeviceCount(&count), cudaSuccess);
  CHECK_EQ(count, 1);
  CHECK_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
}

TEST("simulated: what is not released is reported by kind") {
  resnetSimulatedReset();
  deviceFloats();
  pinnedFloats();
  newStream();
  newEvent();
  CHECK_EQ(leaks(), 4u);
  for (const char* kind : {"allocation of 256 bytes", "pinned", "streams", "events"})
    CHECK_HAS(leakText(), kind);
  resnetSimulatedReset();
  CHECK_EQ(leaks(), 0u);
}

TEST("simulated: what was destroyed is not used again, nor freed twice") {
  resnetSimulatedReset();
  cudaStream_t stream = newStream();
  cudaStreamDestroy(stream);
  CHECK_EQ(cudaStreamSynchronize(stream), cudaErrorInvalidResourceHandle);
  float* device = deviceFloats();
  cudaFree(device);
  CHECK_EQ(cudaFree(device), cudaErrorInvalidValue);
  CHECK_EQ(violations(), 2u);
}

TEST("simulated: events measure the simulated clock") {
  resnetSimulatedReset();
  cudaEvent_t from = newEvent(), to = newEvent();
  float* device = deviceFloats();
  float milliseconds = -1;
  cudaEventRecord(from, nullptr);
  for (int i = 0; i < 10; ++i) fill(nullptr, device, 1);
  cudaEventRecord(to, nullptr);
  CHECK_EQ(cudaEventElapsedTime(&milliseconds, from, to), cudaErrorNotReady);
  cudaEventSynchronize(to);
  CHECK_EQ(cudaEventElapsedTime(&milliseconds, from, to), cudaSuccess);
  CHECK(std::abs(milliseconds - 0.03f) < 1e-6f);
}

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
