// resnet_gpu_probe: the ceilings of device 0, a JSON line each, for scripts/gpu-check:
//   read and copy rate of the device's memory; read rate of L2 by footprint; transfers to and from the host; what a node of a
//   CUDA graph costs, with and without programmatic launch; how many clusters of blocks are active at once; on Hopper the rate
//   of its matrix instruction by width and source.
// --quick: fewer footprints and repetitions. --dry: sizes for a simulated device, whose times mean nothing.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda/owners.h"
#include "cuda/probe/kernels.cuh"
#ifdef __CUDACC__
#include "cuda/probe/wgmma.h"
#endif

using namespace resnet;
using namespace resnet::cuda;
using namespace resnet::cuda::probe;

namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "error: %s: %s (%s)\n", what, cudaGetErrorString(error),
               cudaGetErrorName(error));
  std::exit(1);
}
void check(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "error: %s\n", status.message.c_str());
  std::exit(1);
}

struct FreeDevice {
  void operator()(void* memory) const { cudaFree(memory); }
};
using DeviceBuffer = std::unique_ptr<void, FreeDevice>;
DeviceBuffer allocate(size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "allocating on the device");
  return DeviceBuffer(memory);
}

struct Options {
  bool quick = false, dry = false;
};

// A rehearsal has nothing to report but that it came this far.
bool rehearsal = false;

void report(const std::string& name, double value, const char* unit, const std::string& detail) {
  if (rehearsal) {
    std::printf("{\"kind\":\"note\",\"text\":\"rehearsed: %s\"}\n", name.c_str());
    return;
  }
  std::printf(
      "{\"kind\":\"ceiling\",\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"detail\":\"%s\"}\n",
      name.c_str(), value, unit, detail.c_str());
  std::fflush(stdout);
}

class Probe {
 public:
  explicit Probe(Options options) : options_(options) {
    check(cudaSetDevice(0), "choosing the device");
    check(cudaGetDeviceProperties(&properties_, 0), "reading its properties");
    check(make(stream_));
    // Timing events: owners.h makes those of the backend without.
    for (Event* event : {&begin_, &end_}) check(cudaEventCreate(event->address()), "an event");
    sink_ = allocate(256);
    repeats_ = options.dry ? 2 : options.quick ? 7 : 15;
  }

  void run() {
    memory();
    secondLevel();
    transfers();
    nodes(1);
    nodes(options_.dry ? 2 : properties_.multiProcessorCount);
    clusters();
    matrix();
  }

 private:
  // Median milliseconds of what `enqueue` puts on the stream; -1 in a rehearsal, whose clock says nothing.
  double milliseconds(const std::function<void()>& enqueue) {
    std::vector<float> times;
    for (int i = 0; i < repeats_ + 2; ++i) {
      check(cudaEventRecord(begin_, stream_), "recording");
      enqueue();
      check(cudaEventRecord(end_, stream_), "recording");
      check(cudaEventSynchronize(end_), "waiting");
      float taken = 0;
      check(cudaEventElapsedTime(&taken, begin_, end_), "reading the time");
      if (i >= 2) times.push_back(taken);
    }
    std::nth_element(times.begin(), times.begin() + long(times.size() / 2), times.end());
    return options_.dry ? -1 : double(times[times.size() / 2]);
  }

  static double gigabytesPerSecond(double bytes, double milliseconds) {
    return bytes / milliseconds / 1e6;
  }

  struct Best {
    double rate = -1e300;
    std::string how;
    void take(double candidate, const std::string& name) {
      if (candidate > rate) *this = {candidate, name};
    }
  };

  std::vector<int> grids() const {
    const int processors = options_.dry ? 1 : properties_.multiProcessorCount;
    return {processors * 2, processors * 4, processors * 16};
  }
  static std::string named(int grid) { return std::to_string(grid) + " blocks"; }

  void fill(void* memory, size_t vectors) {
    check(launch(fillKernel, dim3(options_.dry ? 2 : 1024), dim3(kThreads), 0, stream_,
                 static_cast<uint4*>(memory), vectors),
          "filling");
  }

  void memory() {
    // Several times L2, so that nothing of the last run is found there.
    const size_t wanted = options_.dry ? 4 : options_.quick ? size_t{1} << 16 : size_t{1} << 17;
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "reading the free memory");
    const size_t chunkBytes = kChunk * sizeof(uint4);
    const size_t vectors = std::min(wanted, free / 4 / chunkBytes) * kChunk;
    const size_t bytes = vectors * sizeof(uint4);
    const DeviceBuffer from = allocate(bytes), to = allocate(bytes);
    fill(from.get(), vectors);
    fill(to.get(), vectors);
    Best read, copy;
    for (int grid : grids()) {
      read.take(gigabytesPerSecond(double(bytes), milliseconds([&] {
                                     check(launch(readKernel, dim3(unsigned(grid)), dim3(kThreads),
                                                  0, stream_, static_cast<const uint4*>(from.get()),
                                                  vectors, 1, static_cast<unsigned*>(sink_.get())),
                                           "reading");
                                   })),
                named(grid));
      copy.take(gigabytesPerSecond(2.0 * double(bytes), milliseconds([&] {
                                     check(launch(copyKernel, dim3(unsigned(grid)), dim3(kThreads),
                                                  0, stream_, static_cast<uint4*>(to.get()),
                                                  static_cast<const uint4*>(from.get()), vectors),
                                           "copying");
                                   })),
                named(grid));
    }
    copy.take(gigabytesPerSecond(2.0 * double(bytes), milliseconds([&] {
                                   check(cudaMemcpyAsync(to.get(), from.get(), bytes,
                                                         cudaMemcpyDeviceToDevice, stream_),
                                         "copying");
                                 })),
              "cudaMemcpy");
    const std::string size = std::to_string(bytes >> 20) + " MiB, ";
    report("device read", read.rate, "GB/s", size + read.how);
    report("device copy", copy.rate, "GB/s", size + "read and written bytes, " + copy.how);
  }

  void secondLevel() {
    const std::vector<int> all{8, 16, 24, 32, 40, 48};
    const std::vector<int> megabytes = options_.dry     ? std::vector<int>{1}
                                       : options_.quick ? std::vector<int>{16, 32}
                                                        : all;
    for (int size : megabytes) {
      const size_t chunks = options_.dry ? 2 : (size_t(size) << 20) / (kChunk * sizeof(uint4));
      const size_t vectors = chunks * kChunk, bytes = vectors * sizeof(uint4);
      const DeviceBuffer from = allocate(bytes);
      fill(from.get(), vectors);
      const int passes = options_.dry ? 2 : int((size_t{4} << 30) / bytes);
      Best best;
      for (int grid : grids()) {
        best.take(
            gigabytesPerSecond(double(bytes) * passes, milliseconds([&] {
                                 check(launch(readKernel, dim3(unsigned(grid)), dim3(kThreads), 0,
                                              stream_, static_cast<const uint4*>(from.get()),
                                              vectors, passes, static_cast<unsigned*>(sink_.get())),
                                       "reading L2");
                               })),
            named(grid));
      }
      report("L2 read " + std::to_string(size) + " MiB", best.rate, "GB/s", best.how);
    }
  }

  void transfers() {
    const size_t bytes = options_.dry ? 4096 : size_t{256} << 20;
    auto host = PinnedMemory::allocate(bytes);
    if (!host.ok()) check(host.status());
    std::memset(host.value().data(), 1, bytes);
    const DeviceBuffer device = allocate(bytes);
    for (const bool up : {true, false}) {
      const double taken = milliseconds([&] {
        check(up ? cudaMemcpyAsync(device.get(), host.value().data(), bytes, cudaMemcpyHostToDevice,
                                   stream_)
                 : cudaMemcpyAsync(host.value().data(), device.get(), bytes, cudaMemcpyDeviceToHost,
                                   stream_),
              "a transfer");
      });
      report(up ? "host to device" : "device to host", gigabytesPerSecond(double(bytes), taken),
             "GB/s", "page-locked memory");
    }
  }

  // One link of the chain; programmatic launch is an attribute of the launch.
  template <bool kEarly>
  cudaError_t link(int blocks, float* x) {
#ifdef __CUDACC__
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(unsigned(blocks));
    config.blockDim = dim3(kLinkThreads);
    config.stream = stream_;
    config.attrs = &attribute;
    config.numAttrs = kEarly ? 1 : 0;
    return cudaLaunchKernelEx(&config, linkKernel<kEarly>, x);
#else
    return launch(linkKernel<kEarly>, dim3(unsigned(blocks)), dim3(kLinkThreads), 0, stream_, x);
#endif
  }

  // Microseconds of one replay of a captured chain; negative: this device captures no such chain.
  template <bool kEarly>
  double chain(int links, int blocks, float* x) {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capturing");
    cudaError_t failed = cudaSuccess;
    for (int i = 0; i < links && failed == cudaSuccess; ++i) failed = link<kEarly>(blocks, x);
    Graph graph;
    const cudaError_t ended = cudaStreamEndCapture(stream_, graph.address());
    if (failed != cudaSuccess || ended != cudaSuccess) {
      cudaGetLastError();
      return -1;
    }
    GraphExecutable executable;
    if (cudaGraphInstantiate(executable.address(), graph, 0) != cudaSuccess) {
      cudaGetLastError();
      return -1;
    }
    const int replays = options_.dry ? 2 : 20;
    return 1000 / double(replays) * milliseconds([&] {
             for (int i = 0; i < replays; ++i)
               check(cudaGraphLaunch(executable, stream_), "replay");
           });
  }

  template <bool kEarly>
  void nodesOf(int blocks, const char* kind) {
    const int few = options_.dry ? 2 : 50, many = options_.dry ? 3 : 250;
    const DeviceBuffer x = allocate(size_t(blocks) * kLinkThreads * sizeof(float));
    check(cudaMemsetAsync(x.get(), 0, size_t(blocks) * kLinkThreads * sizeof(float), stream_),
          "clearing");
    const double a = chain<kEarly>(few, blocks, static_cast<float*>(x.get()));
    const double b = chain<kEarly>(many, blocks, static_cast<float*>(x.get()));
    if (!options_.dry && (a < 0 || b < 0)) return;
    const double each = (b - a) / (many - few);
    const std::string suffix =
        std::string(kind) + ", " + std::to_string(blocks) + (blocks == 1 ? " block" : " blocks");
    report("graph node, dependent" + suffix, each, "us", "a kernel that reads what the last wrote");
    report("graph replay, fixed" + suffix, a - few * each, "us", "replays back to back");
  }
  void nodes(int blocks) {
    nodesOf<false>(blocks, "");
    if (options_.dry || properties_.major >= 9) nodesOf<true>(blocks, ", programmatic launch");
  }

  void clusters() {
#ifdef __CUDACC__
    if (properties_.major < 9) return;
    constexpr int kShared = 200 << 10;
    const auto kernel = reinterpret_cast<const void*>(&linkKernel<false>);
    if (size_t(kShared) > properties_.sharedMemPerBlockOptin) return;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared),
          "shared memory");
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
          "cluster size");
    for (const int size : {1, 2, 4, 8, 16}) {
      cudaLaunchAttribute attribute = {};
      attribute.id = cudaLaunchAttributeClusterDimension;
      attribute.val.clusterDim.x = unsigned(size);
      attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
      cudaLaunchConfig_t config = {};
      config.gridDim = dim3(unsigned(size * properties_.multiProcessorCount));
      config.blockDim = dim3(kLinkThreads);
      config.dynamicSmemBytes = kShared;
      config.attrs = &attribute;
      config.numAttrs = 1;
      int active = 0;
      if (cudaOccupancyMaxActiveClusters(&active, kernel, &config) != cudaSuccess) {
        cudaGetLastError();
        continue;
      }
      report("active blocks in clusters of " + std::to_string(size), active * size, "blocks",
             "one block of 200 KB shared memory a multiprocessor");
    }
#endif
  }

  void matrix() {
#ifdef __CUDACC__
    if (properties_.major != 9 || properties_.minor != 0) return;
    for (const int n : {64, 128, 256}) {
      for (const bool inRegisters : {false, true}) {
        const MatrixLaunch what{n, inRegisters, properties_.multiProcessorCount, 200000 / n};
        const double taken = milliseconds([&] {
          check(launchMatrix(what, static_cast<float*>(sink_.get()), stream_), "multiplying");
        });
        report("wgmma m64n" + std::to_string(n) + "k16 float16, A in " +
                   (inRegisters ? "registers" : "shared memory"),
               matrixFlop(what) / taken / 1e9, "TFLOP/s", "two warp groups a multiprocessor");
      }
    }
#endif
  }

  const Options options_;
  cudaDeviceProp properties_ = {};
  Stream stream_;
  Event begin_, end_;
  DeviceBuffer sink_;
  int repeats_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    options.quick = options.quick || std::strcmp(argv[i], "--quick") == 0;
    options.dry = options.dry || std::strcmp(argv[i], "--dry") == 0;
  }
  rehearsal = options.dry;
  Probe(options).run();
}
