// Decoded pictures that the backend resizes, on a simulated device, against the host's own resize: batches
// of all sizes, more than a stage holds, under random schedules, with too little memory, from several lanes.
#include <algorithm>
#include <cstring>

#include "cuda/backend.h"
#include "image/resize.h"
#include "test/cuda/backend_harness.h"
#include "test/cuda/reports.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"

namespace {

using namespace resnet;
using namespace resnet::test;

constexpr int kSide = 12;

// Pictures in, the network's input out.
Plan planOf(Interpolation interpolation) {
  Plan plan;
  plan.inputs = plan.outputs = 1;
  plan.values.push_back({"x", kSide, kSide, 3});
  InputStep input{
      0, 0, DType::kUint8, MemoryLayout::kNhwc, {0.4f, 0.5f, 0.6f}, {0.2f, 0.3f, 0.25f}};
  input.resize = interpolation;
  plan.steps.push_back({StepKind::kInput, "input", input});
  plan.steps.push_back({StepKind::kOutput, "output", OutputStep{0, 0, MemoryLayout::kNchw}});
  return plan;
}

// A picture by formula, and what the host makes of it.
struct Sample {
  Sample(int height, int width, int channels, Interpolation interpolation)
      : levels(size_t(height) * size_t(width) * size_t(channels)) {
    for (size_t i = 0; i < levels.size(); ++i) levels[i] = uint8_t((i * 2654435761u) >> 13);
    image::Preset preset;
    preset.filter = interpolation;
    preset.resizedWidth = kSide + 3;
    preset.resizedHeight = kSide - 2;
    preset.x = {2, kSide, 0};
    preset.y = {0, kSide - 2, 1};
    preset.width = preset.height = kSide;
    preset.mean = {0.4f, 0.5f, 0.6f};
    preset.std = {0.2f, 0.3f, 0.25f};
    const image::Resize resize(preset, width, height, 1, cpu::Isa::kPortable);
    const image::Region needed = resize.needed();
    const size_t pitch = size_t(width) * size_t(channels);
    piece.data = levels.data() + size_t(needed.top) * pitch + size_t(needed.left) * channels;
    piece.images = 1;
    piece.picture = Picture{{double(width), width, needed.left, needed.width, preset.resizedWidth,
                             preset.x.from, preset.x.length, preset.x.to},
                            {double(height), height, needed.top, needed.height,
                             preset.resizedHeight, preset.y.from, preset.y.length, preset.y.to},
                            channels,
                            pitch};
    expected.resize(3 * kSide * kSide);
    const image::PixelView view{
        levels.data(), pitch, channels, {0, 0, width, height}, levels.size()};
    CHECK(resize.run(view, expected.data(), Control{}).ok());
  }
  Sample(const Sample&) = delete;
  Sample& operator=(const Sample&) = delete;

  std::vector<uint8_t> levels;
  InputPiece piece;
  std::vector<float> expected;
};
using Samples = std::vector<std::unique_ptr<Sample>>;

Status run(Lane& lane, const Samples& samples, std::vector<float>& found) {
  Submission submission;
  submission.batch = int(samples.size());
  submission.inputs.resize(1);
  for (const auto& sample : samples) submission.inputs[0].push_back(sample->piece);
  found.assign(samples.size() * samples[0]->expected.size(), NAN);
  submission.outputs = {{{found.data(), submission.batch}}};
  return runOnce(lane, std::move(submission));
}

void checkSame(const Samples& samples, const std::vector<float>& found) {
  for (size_t i = 0; i < samples.size(); ++i) {
    const std::vector<float>& expected = samples[i]->expected;
    const size_t bytes = expected.size() * sizeof(float);
    CHECK_EQ(std::memcmp(found.data() + i * expected.size(), expected.data(), bytes), 0);
  }
}

std::shared_ptr<const Program> compiled(size_t memoryLimit, Interpolation interpolation,
                                        int tracks = 1) {
  cuda::BackendOptions options;
  options.memoryLimit = memoryLimit;
  auto backend = cuda::makeCudaBackend(options);
  CHECK(backend.ok());
  CompileOptions compile;
  compile.maxBatch = 8;
  compile.tracks = tracks;
  auto program = backend.value()->compile(planOf(interpolation), makeFormulaWeights(1, {}), compile,
                                          Control{});
  CHECK_EQ(program.ok() ? std::string() : program.status().message, std::string());
  return program.take();
}

Samples mixed(Interpolation interpolation) {
  Samples samples;
  const int sizes[][3] = {{40, 31, 3}, {200, 20, 3}, {9, 11, 1},
                          {12, 12, 3}, {37, 90, 3},  {13, 8, 1}};
  for (const auto& [height, width, channels] : sizes)
    samples.push_back(std::make_unique<Sample>(height, width, channels, interpolation));
  return samples;
}

TEST("pictures of all sizes are the host's, to the bit, on one track and two, in any order") {
  for (const Interpolation interpolation : {Interpolation::kBilinear, Interpolation::kBicubic}) {
    const Samples samples = mixed(interpolation);
    for (uint64_t schedule = 0; schedule < 8; ++schedule) {
      resnetSimulatedReset();
      resnetSimulatedSetSchedule(schedule);
      {
        auto lane = compiled(0, interpolation, 1 + int(schedule % 2))->createLane();
        CHECK(lane.ok());
        const size_t pageable = resnetSimulatedPageableCopies();
        std::vector<float> found;
        CHECK(run(*lane.value(), samples, found).ok());
        checkSame(samples, found);
        CHECK_EQ(resnetSimulatedPageableCopies(), pageable);
      }
      CHECK_EQ(violations(), std::string());
      CHECK_EQ(leaks(), std::string());
    }
  }
}

TEST("more pictures than a stage holds, and a stage that grows") {
  // 8.6 MB each: a stage of 16 MiB holds one of these, or all of the small ones.
  Samples small = mixed(Interpolation::kBilinear), large = mixed(Interpolation::kBilinear);
  for (int i = 0; i < 3; ++i)
    large[size_t(2 * i)] = std::make_unique<Sample>(2400, 1200 + i, 3, Interpolation::kBilinear);
  for (uint64_t schedule = 0; schedule < 3; ++schedule) {
    resnetSimulatedReset();
    resnetSimulatedSetSchedule(schedule);
    {
      auto lane = compiled(0, Interpolation::kBilinear)->createLane();
      std::vector<float> found;
      for (const Samples* samples : {&small, &large, &small}) {
        CHECK(run(*lane.value(), *samples, found).ok());
        checkSame(*samples, found);
      }
    }
    CHECK_EQ(violations(), std::string());
    CHECK_EQ(leaks(), std::string());
  }
}

TEST("submissions that follow one another use the stages in turn") {
  resnetSimulatedReset();
  resnetSimulatedSetSchedule(3);
  const Samples samples = mixed(Interpolation::kBicubic);
  {
    auto lane = compiled(0, Interpolation::kBicubic)->createLane();
    std::vector<std::vector<float>> found(7);
    std::vector<Answer> answers(found.size());
    for (size_t i = 0; i < found.size(); ++i) {
      const size_t first = i % samples.size();
      found[i].assign(samples[first]->expected.size(), NAN);
      Submission submission{1, {{samples[first]->piece}}, {{{found[i].data(), 1}}}};
      lane.value()->submit(std::move(submission), nullptr, answers[i].done());
    }
    for (size_t i = 0; i < found.size(); ++i) {
      CHECK(answers[i].wait().ok());
      CHECK(found[i] == samples[i % samples.size()]->expected);
    }
  }
  CHECK_EQ(violations(), std::string());
  CHECK_EQ(leaks(), std::string());
}

TEST("pictures beyond the cap fail alone") {
  resnetSimulatedReset();
  const Samples small = mixed(Interpolation::kBilinear);
  Samples large;
  large.push_back(std::make_unique<Sample>(2400, 1200, 3, Interpolation::kBilinear));
  {
    auto lane = compiled(size_t{4} << 20, Interpolation::kBilinear)->createLane();
    std::vector<float> found;
    const Status refused = run(*lane.value(), large, found);
    CHECK(refused.code == Code::kOutOfMemory);
    CHECK_EQ(refused.step, std::string("input"));
    CHECK(refused.message.find("the decoded pictures need") != std::string::npos);
    CHECK(run(*lane.value(), small, found).ok());
    checkSame(small, found);
  }
  CHECK_EQ(violations(), std::string());
  CHECK_EQ(leaks(), std::string());
}

TEST("every call that pictures make may fail, and nothing is left") {
  const Samples samples = mixed(Interpolation::kBilinear);
  uint64_t failures = 0;
  for (uint64_t call = 1;; ++call) {
    resnetSimulatedReset();
    bool failed = false;
    {
      auto lane = compiled(0, Interpolation::kBilinear)->createLane();
      CHECK(lane.ok());
      std::vector<float> found;
      resnetSimulatedFailAt(call, cudaErrorMemoryAllocation);
      const Status status = run(*lane.value(), samples, found);
      failed = *resnetSimulatedFailedCall() != '\0';
      resnetSimulatedFailAt(0, cudaSuccess);
      failures += status.ok() ? 0 : 1;
      if (status.ok()) checkSame(samples, found);
      CHECK(run(*lane.value(), samples, found).ok());
      checkSame(samples, found);
    }
    CHECK_EQ(violations(), std::string());
    CHECK_EQ(leaks(), std::string());
    if (!failed) break;
  }
  CHECK(failures > 10);
}

}  // namespace

int main(int argc, char** argv) { return runCases(argc, argv); }
