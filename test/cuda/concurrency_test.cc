// Threads that share a CUDA backend on the simulated device: callers of one lane, lanes of one program, programs of one
// model over one folder of engines, tensors that come and go, cancellation, a device that is lost under everybody.
//
// Results are compared in every build. `npm run sanitize` runs it under ThreadSanitizer, which is told the order that CUDA
// promises and no other (simulated/order.h); controls/ leaves one lock at a time out of the backend, and each must be found.
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "cuda/backend.h"
#include "test/cuda/plugin_harness.h"
#include "test/cuda/reports.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"

using namespace resnet;
using namespace resnet::test;

namespace {

constexpr int kImages = 2;

Network network() {
  NetworkShape shape;
  shape.bottleneck = true;
  shape.depths = {1};
  shape.width = 8;
  shape.size = 16;
  shape.cifar = true;
  return Network(shape);
}

CompileOptions unmeasured() {
  CompileOptions options;
  options.maxBatch = kImages;
  options.autotune = Autotune::kOff;
  return options;
}

std::shared_ptr<Backend> open(size_t memoryLimit = 0, int device = 0) {
  auto backend = cuda::makeCudaBackend({device, memoryLimit});
  CHECK_EQ(backend.ok() ? "" : backend.status().message, "");
  return backend.ok() ? backend.take() : nullptr;
}

// What `count` threads find wrong, each in words of its own; the checks of check.h are for one thread.
template <typename Body>
void together(int count, const Body& body) {
  std::vector<std::string> wrong(static_cast<size_t>(count));
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&body, &said = wrong[size_t(i)], i] { said = body(i); });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& words : wrong) CHECK_EQ(words, "");
}

void checkClean() {
  CHECK_EQ(violations(), "");
  CHECK_EQ(leaks(), "");
}

// Inputs by seed, with what the network makes of them alone.
struct Known {
  std::vector<uint8_t> input;
  Outputs outputs;
};
std::vector<Known> knownBy(Lane& lane, const Network& net, int count) {
  std::vector<Known> all;
  for (int seed = 0; seed < count; ++seed) {
    Known known{inputOf(net, false, kImages, seed), {}};
    Flight flight;
    flight.launch(lane, net, known.input, kImages);
    CHECK_EQ(flight.wait().message, "");
    known.outputs = std::move(flight.outputs);
    all.push_back(std::move(known));
  }
  return all;
}

// A folder for engines, gone with its files.
class Folder {
 public:
  Folder() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/resnet-concurrency-XXXXXX";
    CHECK(mkdtemp(path_.data()) != nullptr);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    if (DIR* folder = opendir(path_.c_str())) {
      while (const dirent* item = readdir(folder)) unlink((path_ + "/" + item->d_name).c_str());
      closedir(folder);
    }
    rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

TEST("threads: callers of two lanes of one program each get their own results") {
  for (const bool graphs : {true, false}) {
    resnetSimulatedReset();
    resnetSimulatedSetSchedule(graphs ? 5 : 6);
    const Network net = network();
    {
      const std::shared_ptr<Backend> backend = open();
      CompileOptions options = unmeasured();
      options.graphs = graphs;
      auto program =
          backend->compile(net.plan, makeFormulaWeights(3, net.tensors), options, Control());
      CHECK_EQ(program.ok() ? "" : program.status().message, "");
      if (!program.ok()) return;
      std::unique_ptr<Lane> lanes[2];
      for (auto& lane : lanes) lane = program.value()->createLane().take();
      const std::vector<Known> known = knownBy(*lanes[0], net, 4);
      together(4, [&](int caller) -> std::string {
        constexpr int kFlights = 6;
        Flight flights[kFlights];
        for (int i = 0; i < kFlights; ++i)
          flights[i].launch(*lanes[(caller + i) % 2], net, known[size_t(caller)].input, kImages);
        for (Flight& flight : flights) {
          const Status status = flight.wait();
          if (!status.ok()) return status.message;
          if (flight.outputs != known[size_t(caller)].outputs) return "another's results";
        }
        if (program.value()->explain().empty()) return "explains nothing";
        return "";
      });
    }
    checkClean();
  }
}

TEST("threads: programs of one model are compiled at once, over one folder of engines") {
  resnetSimulatedReset();
  // Races of few runs.
  resnetSimulatedSetPace(1000);
  resnetSimulatedSetL2Bytes(1);
  const Network net = network();
  const Folder folder;
  {
    const std::shared_ptr<Backend> backend = open();
    const auto weights = makeFormulaWeights(3, net.tensors);
    std::vector<Known> known;
    {
      auto program = backend->compile(net.plan, weights, unmeasured(), Control());
      CHECK(program.ok());
      if (!program.ok()) return;
      known = knownBy(*program.value()->createLane().take(), net, 1);
    }
    together(3, [&](int caller) -> std::string {
      CompileOptions options = unmeasured();
      options.autotune = Autotune::kQuick;
      options.engineCache = folder.path();
      options.maxBatch = kImages + caller / 2;  // two of them the same
      auto program = backend->compile(net.plan, weights, options, Control());
      if (!program.ok()) return program.status().message;
      auto lane = program.value()->createLane();
      if (!lane.ok()) return lane.status().message;
      Flight flight;
      flight.launch(*lane.value(), net, known[0].input, kImages);
      const Status status = flight.wait();
      if (!status.ok()) return status.message;
      // Another engine sums in another order.
      const double far = difference(flight.outputs[0], known[0].outputs[0]);
      return far <= 1e-2 ? "" : "results " + std::to_string(far) + " away";
    });
  }
  checkClean();
}

TEST("threads: tensors come and go while batches run, and the cap holds") {
  resnetSimulatedReset();
  const Network net = network();
  constexpr size_t kLimit = size_t{8} << 20, kTensor = size_t{1} << 20;
  {
    const std::shared_ptr<Backend> backend = open(kLimit);
    auto program =
        backend->compile(net.plan, makeFormulaWeights(3, net.tensors), unmeasured(), Control());
    CHECK(program.ok());
    if (!program.ok()) return;
    auto lane = program.value()->createLane();
    CHECK(lane.ok());
    if (!lane.ok()) return;
    const std::vector<Known> known = knownBy(*lane.value(), net, 1);
    std::atomic<int> refused{0}, made{0};
    together(4, [&](int caller) -> std::string {
      for (int round = 0; round < 6; ++round) {
        if (caller == 0) {
          Flight flight;
          flight.launch(*lane.value(), net, known[0].input, kImages);
          const Status status = flight.wait();
          if (!status.ok()) return status.message;
          if (flight.outputs != known[0].outputs) return "wrong results";
        }
        std::vector<std::shared_ptr<DeviceBuffer>> held;
        for (int i = 0; i < 4; ++i) {
          auto tensor = backend->allocate(kTensor);
          if (!tensor.ok()) {
            if (tensor.status().code != Code::kOutOfMemory) return tensor.status().message;
            ++refused;
            continue;
          }
          ++made;
          const std::vector<uint8_t> bytes(1000, uint8_t(16 * caller + i));
          std::vector<uint8_t> back(bytes.size());
          Status status = backend->upload(*tensor.value(), bytes.data(), bytes.size());
          if (status.ok()) status = backend->download(back.data(), *tensor.value(), back.size());
          if (!status.ok()) return status.message;
          if (back != bytes) return "another's bytes";
          held.push_back(tensor.take());
        }
        const MemoryUse use = backend->memory();
        if (use.weights + use.arenas + use.tensors + use.staging > kLimit) return "above the cap";
      }
      return "";
    });
    CHECK(made > 0);
    CHECK(resnetSimulatedPeakMemory(0) <= kLimit);
    CHECK_EQ(backend->memory().tensors, size_t{0});
  }
  checkClean();
}

TEST("threads: lanes are made and go away at once, runs are cancelled while they wait") {
  resnetSimulatedReset();
  const Network net = network();
  {
    const std::shared_ptr<Backend> backend = open();
    CompileOptions options = unmeasured();
    options.graphs = false;  // so that there is something to stop between launches
    auto program =
        backend->compile(net.plan, makeFormulaWeights(3, net.tensors), options, Control());
    CHECK(program.ok());
    if (!program.ok()) return;
    const std::vector<Known> known = knownBy(*program.value()->createLane().take(), net, 1);
    together(3, [&](int) -> std::string {
      auto lane = program.value()->createLane();
      if (!lane.ok()) return lane.status().message;
      const auto control = std::make_shared<Control>();
      Flight flights[4];
      for (int i = 0; i < 4; ++i)
        flights[i].launch(*lane.value(), net, known[0].input, kImages,
                          i % 2 == 1 ? control : nullptr);
      control->cancelled = true;
      for (int i = 0; i < 4; ++i) {
        const Status status = flights[i].wait();
        if (i % 2 == 1 && status.code == Code::kAborted) continue;
        if (!status.ok()) return status.message;
        if (flights[i].outputs != known[0].outputs) return "wrong results";
      }
      return "";
    });
  }
  checkClean();
}

TEST("threads: a device is lost under all its callers, who are told, and another one works") {
  for (const uint64_t work : {3, 40}) {
    resnetSimulatedReset();
    resnetSimulatedSetDeviceCount(2);
    const Network net = network();
    {
      const std::shared_ptr<Backend> backend = open(), other = open(0, 1);
      const auto weights = makeFormulaWeights(3, net.tensors);
      auto program = backend->compile(net.plan, weights, unmeasured(), Control());
      CHECK(program.ok());
      if (!program.ok()) return;
      std::unique_ptr<Lane> lanes[2];
      for (auto& lane : lanes) lane = program.value()->createLane().take();
      const std::vector<Known> known = knownBy(*lanes[0], net, 1);
      resnetSimulatedFailWorkAt(work, cudaErrorIllegalAddress);
      together(3, [&](int caller) -> std::string {
        Flight flights[4];
        for (int i = 0; i < 4; ++i)
          flights[i].launch(*lanes[(caller + i) % 2], net, known[0].input, kImages);
        bool lost = false;
        for (Flight& flight : flights) {
          const Status status = flight.wait();
          if (!status.ok() && status.code != Code::kDeviceLost) return status.message;
          if (status.ok() && flight.outputs != known[0].outputs) return "wrong results";
          lost = lost || !status.ok();
        }
        const Code code = backend->allocate(64).status().code;
        return !lost || code == Code::kDeviceLost ? "" : "memory of a lost device";
      });
      CHECK(backend->allocate(64).status().code == Code::kDeviceLost);
      const Outcome outcome =
          runNetwork(*other, net.plan, net, known[0].input, kImages, unmeasured());
      CHECK_EQ(outcome.status.message, "");
      CHECK(outcome.outputs == known[0].outputs);
    }
    checkClean();
  }
}

int main(int argc, char** argv) { return runCases(argc, argv); }
