// The plugin's boundary: the CPU backend behind it gives what it gives directly, failures cross with code, message and
// step, nothing stays alive, and foreign libraries are refused with a reason.
#include "core/plugin_backend.h"

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "check.h"
#include "core/plugin_text.h"
#include "cpu/backend.h"
#include "plan_text.h"

using namespace resnet;
using namespace resnet::test;

namespace {

std::shared_ptr<const Plugin> plugin() {
  static const auto opened = Plugin::open(RESNET_CPU_PLUGIN);
  if (!opened.ok()) {
    std::printf("%s\n", opened.status().message.c_str());
    std::exit(1);
  }
  return opened.value();
}

std::shared_ptr<Backend> device(size_t memoryLimit = 0) {
  auto made = plugin()->makeBackend({.device = 0, .memoryLimit = memoryLimit});
  if (!made.ok()) {
    fault(__FILE__, __LINE__, made.status().message);
    std::exit(1);
  }
  return made.take();
}

Plan testPlan() { return parsePlan(kPlan).take(); }

std::vector<FormulaTensor> testTensors() {
  std::vector<FormulaTensor> tensors;
  for (const ParameterInfo& parameter : testPlan().parameters) {
    const bool variance = parameter.name.find("var") != std::string::npos;
    tensors.push_back({parameter.name, parameter.shape, variance ? 0.5f : -0.5f, 1.0f});
  }
  return tensors;
}
std::shared_ptr<const Weights> testWeights() { return makeFormulaWeights(3, testTensors()); }

// Counts what is read of it.
class CountedWeights final : public Weights {
 public:
  const TensorInfo* find(std::string_view name) const override { return inner_->find(name); }
  Status read(std::string_view name, float* destination, size_t count) const override {
    ++reads;
    return inner_->read(name, destination, count);
  }
  mutable std::atomic<int> reads{0};

 private:
  std::shared_ptr<const Weights> inner_ = testWeights();
};

class Waiter {
 public:
  std::function<void(Status)> done() {
    return [this](Status status) {
      const std::lock_guard lock(mutex_);
      results_.push_back(std::move(status));
      condition_.notify_all();
    };
  }
  std::vector<Status> wait(size_t count) {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [&] { return results_.size() >= count; });
    return results_;
  }
  size_t count() {
    const std::lock_guard lock(mutex_);
    return results_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  std::vector<Status> results_;
};

constexpr int kBatch = 5;
constexpr size_t kPixels = 9 * 7 * 3, kLogits = 5, kClasses = 2;

// Memory of one submission of kPlan; outputs begin as NaN bytes.
struct Images {
  std::vector<uint8_t> pixels = std::vector<uint8_t>(kBatch * kPixels);
  std::vector<float> logits = std::vector<float>(kBatch * kLogits);
  std::vector<int32_t> classes = std::vector<int32_t>(kBatch * kClasses, -1);

  Images() {
    for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = uint8_t(i * 37 + i / 11);
    std::memset(logits.data(), 0xFF, logits.size() * sizeof(float));
  }
  // Two callers of 2 and 3 images.
  Submission submission() {
    return {kBatch,
            {{{pixels.data(), 2}, {pixels.data() + 2 * kPixels, 3}}},
            {{{logits.data(), 2}, {logits.data() + 2 * kLogits, 3}}, {{classes.data(), kBatch}}}};
  }
};

Result<std::shared_ptr<const Program>> compileOn(Backend& backend,
                                                 std::shared_ptr<const Weights> weights,
                                                 const Plan& plan = testPlan(),
                                                 const Control& control = {}) {
  return backend.compile(plan, std::move(weights), {.maxBatch = kBatch, .threads = 2}, control);
}

Status runOn(Backend& backend, Submission submission) {
  auto program = compileOn(backend, testWeights());
  if (!program.ok()) return program.takeStatus();
  auto lane = program.value()->createLane();
  if (!lane.ok()) return lane.takeStatus();
  Waiter waiter;
  lane.value()->submit(std::move(submission), nullptr, waiter.done());
  return waiter.wait(1).front();
}

std::shared_ptr<Backend> direct() { return cpu::makeCpuBackend(cpu::ThreadPool::acquire()); }

void checkNothingAlive() {
  const ResnetLiveCounts counts = plugin()->liveCounts();
  CHECK_EQ(counts.backends, 0);
  CHECK_EQ(counts.weights, 0);
  CHECK_EQ(counts.programs, 0);
  CHECK_EQ(counts.lanes, 0);
  CHECK_EQ(counts.buffers, 0);
  CHECK_EQ(counts.submissions, 0);
}

TEST("a written plan reads as the same plan") {
  const std::string text = writePlan(testPlan());
  auto again = parsePlan(text);
  CHECK_EQ(again.status().message, "");
  if (again.ok()) CHECK_EQ(writePlan(again.value()), text);
  CHECK_HAS(text, R"("residual":2)");
  CHECK_HAS(text, R"("countIncludePad":false)");
}

TEST("names with quotes, control characters and other scripts survive writing") {
  Plan plan = testPlan();
  plan.values[0].name = "a \"quoted\" \\ name\n\x01 größe";
  auto again = parsePlan(writePlan(plan));
  CHECK(again.ok());
  if (again.ok()) CHECK_EQ(again.value().values[0].name, plan.values[0].name);
}

TEST("outputs are bit-equal to the backend's own") {
  Images expected, got;
  const auto own = direct();
  const auto theirs = device();
  CHECK_EQ(runOn(*own, expected.submission()).message, "");
  CHECK_EQ(runOn(*theirs, got.submission()).message, "");
  CHECK(std::memcmp(expected.logits.data(), got.logits.data(),
                    expected.logits.size() * sizeof(float)) == 0);
  CHECK(expected.classes == got.classes);
  CHECK(expected.classes.front() >= 0);
}

TEST("a program says the same of itself") {
  const auto own = direct();
  const auto theirs = device();
  const auto a = compileOn(*own, testWeights()), b = compileOn(*theirs, testWeights());
  CHECK_EQ(b.value()->arenaBytes(), a.value()->arenaBytes());
  CHECK_EQ(b.value()->weightBytes(), a.value()->weightBytes());
  CHECK_EQ(b.value()->threads(), 2);
  CHECK_EQ(std::string(b.value()->isa()), a.value()->isa());
  const auto rows = a.value()->explain(), same = b.value()->explain();
  CHECK_EQ(same.size(), rows.size());
  for (size_t i = 0; i < rows.size() && i < same.size(); ++i) {
    CHECK_EQ(same[i].step, rows[i].step);
    CHECK_EQ(same[i].kind, rows[i].kind);
    CHECK_EQ(same[i].implementation, rows[i].implementation);
    CHECK(same[i].refused == rows[i].refused);
    CHECK_EQ(same[i].flop, rows[i].flop);
    CHECK_EQ(same[i].bytes, rows[i].bytes);
  }
}

TEST("a failure crosses with code, message and step") {
  std::vector<FormulaTensor> tensors = testTensors();
  tensors.pop_back();  // fc.bias
  const auto own = direct();
  const auto theirs = device();
  const Status expected = compileOn(*own, makeFormulaWeights(3, tensors)).takeStatus();
  const Status got = compileOn(*theirs, makeFormulaWeights(3, tensors)).takeStatus();
  CHECK(expected.code == Code::kMismatch);
  CHECK(got.code == expected.code);
  CHECK_EQ(got.message, expected.message);
  CHECK_EQ(got.step, "fc");
}

TEST("what is thrown behind the boundary is an internal error") {
  const auto made = plugin()->makeBackend({.device = 666});
  CHECK(made.status().code == Code::kInternal);
  CHECK_EQ(made.status().message, "thrown behind the boundary");
}

TEST("a device that is not there is refused by its number") {
  const auto made = plugin()->makeBackend({.device = 7});
  CHECK(made.status().code == Code::kUnavailable);
  CHECK_HAS(made.status().message, "no device 7");
}

TEST("a compile is aborted by its control") {
  const auto theirs = device();
  Control control;
  control.cancelled = true;
  CHECK(compileOn(*theirs, testWeights(), testPlan(), control).status().code == Code::kAborted);
  std::atomic<bool> closing{true};
  Control closed;
  closed.closing = &closing;
  CHECK(compileOn(*theirs, testWeights(), testPlan(), closed).status().code == Code::kAborted);
}

TEST("a run is aborted by its control, and the lane runs on") {
  const auto theirs = device();
  const auto program = compileOn(*theirs, testWeights());
  const auto lane = program.value()->createLane();
  auto control = std::make_shared<Control>();
  control->cancelled = true;
  Images images, expected;
  Waiter waiter;
  lane.value()->submit(images.submission(), control, waiter.done());
  CHECK(waiter.wait(1)[0].code == Code::kAborted);
  lane.value()->submit(images.submission(), std::make_shared<Control>(), waiter.done());
  CHECK_EQ(waiter.wait(2)[1].message, "");
  const auto own = direct();
  CHECK_EQ(runOn(*own, expected.submission()).message, "");
  CHECK(images.classes == expected.classes);
}

TEST("a lane that is dropped waits for what was submitted") {
  const auto theirs = device();
  const auto program = compileOn(*theirs, testWeights());
  auto lane = program.value()->createLane();
  std::vector<Images> images(8);
  Waiter waiter;
  for (Images& one : images) lane.value()->submit(one.submission(), nullptr, waiter.done());
  std::unique_ptr<Lane> last = lane.take();
  last.reset();
  CHECK_EQ(waiter.count(), images.size());
  for (const Status& status : waiter.wait(images.size())) CHECK_EQ(status.message, "");
}

TEST("a program outlives the backend, and a lane the program") {
  auto theirs = device();
  auto compiled = compileOn(*theirs, testWeights());
  std::shared_ptr<const Program> program = compiled.take();
  theirs.reset();
  auto made = program->createLane();
  std::unique_ptr<Lane> lane = made.take();
  program.reset();
  Images images;
  Waiter waiter;
  lane->submit(images.submission(), nullptr, waiter.done());
  CHECK_EQ(waiter.wait(1)[0].message, "");
  lane.reset();
  checkNothingAlive();
}

TEST("programs of one model share its packed parameters") {
  const auto theirs = device();
  const auto weights = std::make_shared<const CountedWeights>();
  const auto first = compileOn(*theirs, weights);
  CHECK_EQ(first.status().message, "");
  const int reads = weights->reads;
  CHECK(reads > 0);
  // kPlan's affine and linear steps may read again; its convolutions may not.
  const auto second = compileOn(*theirs, weights);
  CHECK_EQ(second.status().message, "");
  CHECK(weights->reads - reads < reads);
  CHECK_EQ(plugin()->liveCounts().weights, 1);
}

TEST("nothing stays alive, and the weights are released") {
  std::weak_ptr<const Weights> watched;
  {
    const auto theirs = device();
    auto weights = testWeights();
    watched = weights;
    auto program = compileOn(*theirs, weights);
    auto lane = program.value()->createLane();
    auto buffer = theirs->allocate(64);
    const ResnetLiveCounts counts = plugin()->liveCounts();
    CHECK_EQ(counts.backends, 1);
    CHECK_EQ(counts.weights, 1);
    CHECK_EQ(counts.programs, 1);
    CHECK_EQ(counts.lanes, 1);
    CHECK_EQ(counts.buffers, 1);
    weights.reset();
    CHECK(!watched.expired());  // the program may still read
  }
  CHECK(watched.expired());
  checkNothingAlive();
}

TEST("device memory goes up, is computed on, and comes down") {
  const auto theirs = device();
  Images expected, images;
  CHECK_EQ(runOn(*direct(), expected.submission()).message, "");

  auto pixels = theirs->allocate(images.pixels.size());
  auto logits = theirs->allocate(images.logits.size() * sizeof(float));
  CHECK_EQ(theirs->memory().tensors, images.pixels.size() + images.logits.size() * sizeof(float));
  CHECK_EQ(theirs->upload(*pixels.value(), images.pixels.data(), images.pixels.size()).message, "");
  Submission submission = images.submission();
  submission.inputs[0] = {{pixels.value()->data(), kBatch, true}};
  submission.outputs[0] = {{logits.value()->data(), kBatch, true}};
  CHECK_EQ(runOn(*theirs, std::move(submission)).message, "");
  CHECK_EQ(
      theirs->download(images.logits.data(), *logits.value(), images.logits.size() * sizeof(float))
          .message,
      "");
  CHECK(expected.logits == images.logits);
}

TEST("memory beyond the cap is refused and the rest stays usable") {
  const auto theirs = device(1000);
  CHECK_EQ(theirs->memory().limit, size_t{1000});
  CHECK_EQ(theirs->memory().process, size_t{77});
  CHECK_EQ(theirs->memory().processReason, "counted");
  auto fits = theirs->allocate(800);
  CHECK(fits.ok());
  const auto refused = theirs->allocate(300);
  CHECK(refused.status().code == Code::kOutOfMemory);
  CHECK_HAS(refused.status().message, "1000 bytes");
  fits = theirs->allocate(150);
  CHECK(fits.ok());
}

TEST("devices are listed with all that is known of them") {
  const Probe probe = plugin()->probe();
  CHECK_EQ(plugin()->kind(), "test");
  CHECK_EQ(plugin()->version(), "0.0.0-test");
  CHECK_EQ(probe.driver, "1.0");
  CHECK_EQ(probe.runtime, "2.0");
  CHECK_EQ(probe.cudnn, "3.0");
  CHECK_EQ(probe.cudnnPath, "/test/libcudnn.so");
  CHECK_EQ(probe.nvml, "4.0");
  CHECK_EQ(probe.nvmlReason, "");
  CHECK_EQ(probe.reason, "");
  CHECK_EQ(probe.devices.size(), size_t{2});
  const DeviceInfo& second = probe.devices.back();
  CHECK_EQ(second.index, 1);
  CHECK_EQ(second.name, "Test device");
  CHECK_EQ(second.uuid, "GPU-1");
  CHECK_EQ(second.capabilityMajor, 9);
  CHECK_EQ(second.multiprocessors, 4);
  CHECK_EQ(second.memoryBytes, size_t{1} << 30);
  CHECK_EQ(second.freeBytes, size_t{1} << 29);
  CHECK_EQ(second.processBytes, size_t{3} << 20);
  const Ceilings& most = second.ceilings;
  CHECK_EQ(most.bytesPerSecond, 1e12);
  CHECK(most.float16 == 2e12 && most.bfloat16 == 3e12 && most.tf32 == 4e12 && most.float32 == 5e12);
  CHECK_EQ(most.source, "a test's");
  CHECK(second.mig && !probe.devices.front().mig);
}

void checkRefused(const std::string& path, const std::string& reason) {
  const auto opened = Plugin::open(path);
  CHECK(!opened.ok());
  CHECK(opened.status().code == Code::kUnavailable);
  CHECK_HAS(opened.status().message, path);
  CHECK_HAS(opened.status().message, reason);
}

TEST("a plugin of another version is refused, naming both") {
  checkRefused(RESNET_FOREIGN_1, "it speaks version " + std::to_string(RESNET_PLUGIN_ABI + 41) +
                                     " of the plugin interface (package 9.9.9), this addon "
                                     "version " +
                                     std::to_string(RESNET_PLUGIN_ABI));
}
TEST("a table that is too short is refused") { checkRefused(RESNET_FOREIGN_2, "64 bytes"); }
TEST("no table is refused") { checkRefused(RESNET_FOREIGN_3, "gives no table"); }
TEST("a library without the symbol is refused") {
  checkRefused(RESNET_FOREIGN_4, "exports no resnetPlugin");
}
TEST("a file that is no library is refused") { checkRefused(__FILE__, ""); }
TEST("a missing file is refused") {
  checkRefused("/nonexistent/libresnet_cuda.so", "No such file");
}

TEST("a plan that is not valid is refused on the plugin's side") {
  const auto theirs = device();
  Plan broken = testPlan();
  broken.steps[1].name = "renamed";
  std::get<ConvStep>(broken.steps[1].body).k = 9;
  const Status status = compileOn(*theirs, testWeights(), broken).takeStatus();
  CHECK(status.code == Code::kInvalidArgument);
  CHECK_EQ(status.step, "renamed");
}

TEST("an unknown code is an internal error") {
  CHECK(asCode(99) == Code::kInternal);
  CHECK(asCode(-1) == Code::kInternal);
  CHECK(asCode(ResnetCode(Code::kDeviceLost)) == Code::kDeviceLost);
  Reported silent;
  (void)silent.report();
  CHECK(silent.take(ResnetCode(Code::kIo)).code == Code::kIo);
}

}  // namespace

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
