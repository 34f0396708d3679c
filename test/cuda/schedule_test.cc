// Ways to run a batch, on the simulated device: two tracks give the bits of one under any order that their
// waits allow, and so do images that alternate; what is measured is kept, said and remembered.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "cuda/backend.h"
#include "test/cuda/backend_harness.h"
#include "test/cuda/reports.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"

namespace {

using namespace resnet;
using namespace resnet::test;

CompileOptions optionsFor(int maxBatch, int tracks, TileOrder order) {
  CompileOptions options;
  options.maxBatch = maxBatch;
  options.autotune = Autotune::kOff;
  options.tracks = tracks;
  options.tileOrder = order;
  return options;
}

// With a pool in front, so that a kernel of ours lies between engines of cuDNN.
Network pooledNetwork(DType dtype) {
  Network net(16, 16, dtype);
  ValueId x = net.maxPool(net.conv("conv1", net.input(), 12, 3, 1, kNoValue, true));
  const ValueId inner = net.conv("conv2", x, 20, 3, 1, kNoValue, true);
  x = net.conv("conv3", inner, 12, 1, 1, x, true);
  net.output(x, MemoryLayout::kNhwc);
  const ValueId logits = net.head(x, 10);
  net.output(logits);
  net.topK(logits, 3);
  return net;
}

// As little as has orders to choose from.
Network smallestNetwork() {
  Network net(4, 4, DType::kFloat16);
  net.output(net.maxPool(net.conv("conv1", net.input(), 8, 1, 1, kNoValue, true)),
             MemoryLayout::kNhwc);
  return net;
}

std::shared_ptr<Backend> openBackend() {
  auto backend = cuda::makeCudaBackend({});
  CHECK_EQ(backend.ok() ? std::string() : backend.status().message, std::string());
  return backend.ok() ? backend.take() : nullptr;
}

std::shared_ptr<const Program> compiled(Backend& backend, const Network& net,
                                        const CompileOptions& options) {
  auto program = backend.compile(net.plan, net.weights(), options, Control{});
  CHECK_EQ(program.ok() ? std::string() : program.status().message, std::string());
  return program.ok() ? program.take() : nullptr;
}

ExplainRow scheduleOf(const Program& program) {
  const ExplainRow row = program.explain().back();
  CHECK_EQ(row.kind, std::string("schedule"));
  return row;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

// Several batches in flight, in pieces of `piece` images, equal `expected` to the bit.
void checkBatches(Lane& lane, const Network& net, const std::vector<Images>& expected, int piece,
                  const std::string& what) {
  std::vector<Images> images;
  std::vector<Answer> answers(expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    images.emplace_back(net.plan, expected[i].batch, int(i));
  for (size_t i = 0; i < expected.size(); ++i)
    lane.submit(images[i].submission(piece), nullptr, answers[i].done());
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK_EQ(answers[i].wait().message, std::string());
    for (size_t o = 0; o < expected[i].outputs.size(); ++o) {
      const auto &got = images[i].outputs[o], &wanted = expected[i].outputs[o];
      if (std::memcmp(got.data(), wanted.data(), wanted.size() * sizeof(float)) != 0)
        fault(__FILE__, __LINE__,
              what + ": batch " + std::to_string(i) + ", output " + std::to_string(o) + " differs");
    }
  }
}

TEST("tracks: two halves give the bits of one batch, in any order of streams") {
  int programs = 0;
  for (DType dtype : {DType::kFloat16, DType::kFloat32}) {
    const Network net = pooledNetwork(dtype);
    for (const int maxBatch : {2, 5, 8}) {
      std::vector<Images> expected;
      for (int i = 0; i < 4; ++i)
        expected.emplace_back(net.plan, i % 2 == 0 ? maxBatch : (maxBatch + 1) / 2, i);
      for (uint64_t seed = 0; seed < 6; ++seed) {
        resnetSimulatedReset();
        {
          auto backend = openBackend();
          const auto one = compiled(*backend, net, optionsFor(maxBatch, 1, TileOrder::kForward));
          auto reference = one->createLane();
          CHECK(reference.ok());
          for (Images& images : expected)
            CHECK(runOnce(*reference.value(), images.submission()).ok());
          resnetSimulatedSetSchedule(seed);
          CompileOptions options =
              optionsFor(maxBatch, 2, seed % 3 == 0 ? TileOrder::kForward : TileOrder::kAlternate);
          options.graphs = seed % 2 == 0;
          const auto two = compiled(*backend, net, options);
          CHECK_HAS(scheduleOf(*two).implementation, "two tracks of ");
          CHECK_HAS(scheduleOf(*two).implementation,
                    options.graphs ? "one CUDA graph" : "one by one");
          auto lane = two->createLane();
          CHECK_EQ(lane.ok() ? std::string() : lane.status().message, std::string());
          if (!lane.ok()) continue;
          ++programs;
          checkBatches(*lane.value(), net, expected, 1 + int(seed) % 3,
                       std::string(dtypeName(dtype)) + " of " + std::to_string(maxBatch) +
                           ", seed " + std::to_string(seed));
        }
        CHECK_EQ(violations(), std::string());
        CHECK_EQ(leaks(), std::string());
      }
    }
  }
  std::printf("  %d programs of two tracks\n", programs);
}

TEST("tracks: a second track has memory of its own, and a batch of one has none") {
  resnetSimulatedReset();
  const Network net = pooledNetwork(DType::kFloat16);
  {
    auto backend = openBackend();
    const auto whole = compiled(*backend, net, optionsFor(8, 1, TileOrder::kAuto));
    const auto half = compiled(*backend, net, optionsFor(4, 1, TileOrder::kAuto));
    const auto two = compiled(*backend, net, optionsFor(8, 2, TileOrder::kAuto));
    CHECK_EQ(two->arenaBytes(), 2 * half->arenaBytes());
    CHECK_EQ(two->weightBytes(), whole->weightBytes());
    auto lane = two->createLane();
    CHECK(lane.ok());
    CHECK_EQ(backend->memory().arenas, two->arenaBytes());
    const auto single = compiled(*backend, net, optionsFor(1, 2, TileOrder::kAuto));
    CHECK_HAS(scheduleOf(*single).implementation, "one track");
    CHECK_HAS(joined(scheduleOf(*single).refused), "a batch of one image has no halves");
    CompileOptions wrong = optionsFor(8, 3, TileOrder::kAuto);
    const Status refused = backend->compile(net.plan, net.weights(), wrong, Control{}).status();
    CHECK(refused.code == Code::kInvalidArgument);
    CHECK_HAS(refused.message, "tracks must be 1, 2");
  }
  CHECK_EQ(leaks(), std::string());
}

TEST("tracks: a cancelled run ends in aborted, and the next one is right") {
  for (const bool graphs : {true, false}) {
    resnetSimulatedReset();
    const Network net = pooledNetwork(DType::kFloat16);
    {
      auto backend = openBackend();
      CompileOptions options = optionsFor(4, 2, TileOrder::kAlternate);
      options.graphs = graphs;
      auto lane = compiled(*backend, net, options)->createLane();
      CHECK(lane.ok());
      Images expected(net.plan, 4), images(net.plan, 4);
      CHECK(runOnce(*lane.value(), expected.submission()).ok());
      auto control = std::make_shared<Control>();
      control->cancelled = true;
      CHECK(runOnce(*lane.value(), images.submission(), control).code == Code::kAborted);
      CHECK(runOnce(*lane.value(), images.submission()).ok());
      CHECK(images.outputs[0] == expected.outputs[0]);
    }
    CHECK_EQ(violations(), std::string());
    CHECK_EQ(leaks(), std::string());
  }
}

TEST("order: alternating images give the same bits, and are said") {
  resnetSimulatedReset();
  const Network net = pooledNetwork(DType::kFloat16);
  auto backend = openBackend();
  std::vector<Images> expected;
  for (int i = 0; i < 2; ++i) expected.emplace_back(net.plan, 5, i);
  const auto forward = compiled(*backend, net, optionsFor(5, 1, TileOrder::kForward));
  const auto alternate = compiled(*backend, net, optionsFor(5, 1, TileOrder::kAlternate));
  CHECK_HAS(scheduleOf(*forward).implementation, "images forward");
  CHECK_HAS(scheduleOf(*alternate).implementation, "images alternating");
  // Unmeasured, auto is forward.
  CHECK_HAS(scheduleOf(*compiled(*backend, net, optionsFor(5, 1, TileOrder::kAuto))).implementation,
            "images forward");
  auto lane = forward->createLane(), other = alternate->createLane();
  CHECK(lane.ok() && other.ok());
  for (Images& images : expected) CHECK(runOnce(*lane.value(), images.submission()).ok());
  checkBatches(*other.value(), net, expected, 2, "alternating");
}

TEST(
    "auto: what is measured is kept, the others are named with their times, and it is remembered") {
  resnetSimulatedReset();
  char folder[] = "/tmp/resnet-schedule-XXXXXX";
  CHECK(mkdtemp(folder) != nullptr);
  const Network net = pooledNetwork(DType::kFloat16);
  {
    auto backend = openBackend();
    resnetSimulatedSetPace(1000);
    resnetSimulatedSetL2Bytes(1);
    CompileOptions options = optionsFor(64, 0, TileOrder::kAuto);
    options.autotune = Autotune::kQuick;
    options.engineCache = folder;
    const ExplainRow first = scheduleOf(*compiled(*backend, net, options));
    CHECK(first.milliseconds > 0);
    CHECK_EQ(first.refused.size(), size_t{3});
    for (const std::string& reason : first.refused) {
      CHECK_HAS(reason, "track");
      CHECK_HAS(reason, " ms");
      const double beaten = std::strtod(reason.substr(reason.rfind(": ") + 2).c_str(), nullptr);
      CHECK(beaten >= first.milliseconds - 1e-3);
    }
    // A second start measures nothing of it again.
    resnetSimulatedFailWorkAt(0, cudaSuccess);
    const ExplainRow second = scheduleOf(*compiled(*backend, net, options));
    CHECK_EQ(second.implementation, first.implementation);
    CHECK_EQ(second.milliseconds, first.milliseconds);
    CHECK_EQ(joined(second.refused), joined(first.refused));
    // The kernels that no race of engines has timed are, each time.
    const auto rows = compiled(*backend, net, options)->explain();
    for (const ExplainRow& row : rows) {
      const bool border = row.kind == "input" || row.kind == "output";
      CHECK_EQ(row.milliseconds > 0, !border);
    }
    options.maxBatch = 63;
    CHECK_HAS(joined(scheduleOf(*compiled(*backend, net, options)).refused),
              "not tried below batches of 64");
    options.maxBatch = 64;
    options.deterministic = true;
    const ExplainRow fixed = scheduleOf(*compiled(*backend, net, options));
    CHECK_HAS(fixed.implementation, "one track, images forward");
    CHECK_HAS(joined(fixed.refused), "nothing is measured");
  }
  std::filesystem::remove_all(folder);
  CHECK_EQ(violations(), std::string());
  CHECK_EQ(leaks(), std::string());
}

// Calls that compiling for one track takes where all engines are in the cache: with nothing measured, as it begins where
// something is.
uint64_t callsForOneTrack(Backend& backend, const Network& net, const std::string& cache) {
  CompileOptions options = optionsFor(64, 1, TileOrder::kForward);
  options.engineCache = cache;
  CHECK(compiled(backend, net, options) != nullptr);  // fills it
  resnetSimulatedFailAt(0, cudaSuccess);
  CHECK(compiled(backend, net, options) != nullptr);
  return resnetSimulatedCallCount();
}

// Compiles with a failure of memory at one call after another, from where one track is compiled, until two tracks alone are
// what it costs; each time over a copy of the folder of engines `warm`, which is left at options.engineCache.
ExplainRow withoutMemoryForTracks(Backend& backend, const Network& net,
                                  const CompileOptions& options, const std::string& warm) {
  namespace fs = std::filesystem;
  const uint64_t first = callsForOneTrack(backend, net, warm);
  for (uint64_t n = first; n < first + 50; ++n) {
    fs::remove_all(options.engineCache);
    fs::copy(warm, options.engineCache, fs::copy_options::recursive);
    resnetSimulatedFailAt(n, cudaErrorMemoryAllocation);
    auto program = backend.compile(net.plan, net.weights(), options, Control{});
    resnetSimulatedFailAt(0, cudaSuccess);
    if (!program.ok()) continue;
    const ExplainRow row = scheduleOf(*program.value());
    if (contains(joined(row.refused), "two tracks: ")) return row;
  }
  fault(__FILE__, __LINE__, "no failing call cost two tracks alone");
  return {};
}

TEST("auto: what memory was too short to try is not remembered as tried") {
  namespace fs = std::filesystem;
  resnetSimulatedReset();
  char folder[] = "/tmp/resnet-schedule-XXXXXX";
  CHECK(mkdtemp(folder) != nullptr);
  const std::string warm = std::string(folder) + "/warm";
  const Network net = smallestNetwork();
  {
    auto backend = openBackend();
    resnetSimulatedSetPace(1000);
    resnetSimulatedSetL2Bytes(1);
    // The engines of both ways, raced for and kept; of the ways themselves nothing is measured.
    for (const int tracks : {1, 2}) {
      CompileOptions options = optionsFor(64, tracks, TileOrder::kForward);
      options.autotune = Autotune::kQuick;
      options.engineCache = warm;
      CHECK(compiled(*backend, net, options) != nullptr);
    }
    CompileOptions options = optionsFor(64, 0, TileOrder::kAuto);
    options.autotune = Autotune::kQuick;
    options.engineCache = std::string(folder) + "/now";
    const ExplainRow poor = withoutMemoryForTracks(*backend, net, options, warm);
    CHECK_HAS(poor.implementation, "one track");
    CHECK(poor.milliseconds > 0);  // one track's two orders were measured
    // The next start has the memory, and tries.
    const ExplainRow rich = scheduleOf(*compiled(*backend, net, options));
    CHECK_EQ(rich.refused.size(), size_t{3});
    CHECK(contains(rich.implementation, "two tracks of ") ||
          contains(joined(rich.refused), "two tracks, images "));
    // What it has measured is kept.
    const ExplainRow again = scheduleOf(*compiled(*backend, net, options));
    CHECK_EQ(again.implementation, rich.implementation);
    CHECK_EQ(again.milliseconds, rich.milliseconds);
  }
  fs::remove_all(folder);
  CHECK_EQ(violations(), std::string());
  CHECK_EQ(leaks(), std::string());
}

TEST("auto: without memory to measure the first way stands") {
  resnetSimulatedReset();
  const Network net = pooledNetwork(DType::kFloat16);
  {
    size_t weights = 0;
    {
      auto backend = openBackend();
      weights = compiled(*backend, net, optionsFor(64, 1, TileOrder::kForward))->weightBytes();
    }
    cuda::BackendOptions capped;
    capped.memoryLimit = weights + (64 << 10);
    auto backend = cuda::makeCudaBackend(capped);
    CHECK(backend.ok());
    CompileOptions options = optionsFor(64, 0, TileOrder::kAuto);
    options.autotune = Autotune::kQuick;
    const ExplainRow row = scheduleOf(*compiled(*backend.value(), net, options));
    CHECK_HAS(row.implementation, "one track, images forward");
    CHECK_HAS(joined(row.refused), "not measured: ");
    CHECK_EQ(row.milliseconds, 0.0);
  }
  CHECK_EQ(leaks(), std::string());
}

}  // namespace

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
