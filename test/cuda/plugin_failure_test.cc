// Every call into CUDA and cuDNN from making a backend to disposing of it fails once, with each kind of error: the caller gets
// the code that belongs to it or the right result, nothing leaks or hangs, and what is left works.
//
// The failures of each case are dealt out to four processes (RESNET_FAILURE_PROCESSES), begun before there is any thread: a
// lost device is noticed by a look every tenth of a second, so that most of the time is waiting. Where not every call is
// tried, each kind of failure begins at another one.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "cpu/backend.h"
#include "cuda/backend.h"
#include "test/cuda/plugin_harness.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"

using namespace resnet;
using namespace resnet::test;

namespace {

NetworkShape tinyShape() {
  NetworkShape shape;
  shape.name = "tiny";
  shape.depths = {1};
  shape.width = 8;
  shape.size = 12;
  shape.cifar = true;
  shape.classes = 4;
  return shape;
}

struct Scenario {
  Network network{tinyShape()};
  std::vector<uint8_t> input = inputOf(network, false, 1);
  Outputs expected;

  Scenario() {
    const auto cpu = cpu::makeCpuBackend(cpu::ThreadPool::acquire());
    Outcome outcome = runNetwork(*cpu, network.reference(), network, input, 1, {});
    CHECK_EQ(outcome.status.message, "");
    expected = std::move(outcome.outputs);
  }

  bool correct(const Outputs& outputs) const {
    return outputs.size() == 1 && difference(outputs[0], expected[0]) < 1e-2;
  }
};

const Scenario& scenario() {
  static const Scenario made;
  return made;
}

// How many attempts have ended, for watch().
struct Progress {
  std::mutex mutex;
  std::condition_variable changed;
  unsigned long long attempts = 0;

  void step() {
    const std::lock_guard lock(mutex);
    ++attempts;
    changed.notify_all();
  }
} progress;

// Ends the process when an attempt hangs where no wait of a test sees it: in a destructor, in a compilation. Later than
// those waits, which can say more.
[[noreturn]] void watch() {
  std::unique_lock lock(progress.mutex);
  for (;;) {
    const auto seen = progress.attempts;
    const auto stepped = [seen] { return progress.attempts != seen; };
    if (waitPatiently(progress.changed, lock, stepped, std::chrono::minutes(3))) continue;
    std::printf("FAILED: hung after %llu attempts\n", seen);
    std::fflush(stdout);
    _exit(1);
  }
}

struct Attempt {
  bool began = true;      // there was a backend
  Status status;          // the first failure
  bool correct = true;    // of every run that ended well
  bool recovered = true;  // after a failed run, the same lane's next one ended well
};

// From nothing to nothing: backend, tensors, program, lane, two runs.
Attempt attempt(const CompileOptions& options) {
  const Scenario& all = scenario();
  struct Step {
    ~Step() { progress.step(); }
  };
  const Step step;
  Attempt result;
  const auto failedWith = [&](Status status) {
    result.status = std::move(status);
    return result;
  };
  auto backend = cuda::makeCudaBackend({});
  if (!backend.ok()) {
    result.status = backend.takeStatus();
    result.began = false;
    return result;
  }
  std::vector<uint8_t> back(all.input.size());
  auto tensor = backend.value()->allocate(all.input.size());
  if (!tensor.ok()) return failedWith(tensor.takeStatus());
  result.status = backend.value()->upload(*tensor.value(), all.input.data(), all.input.size());
  if (!result.status.ok()) return result;
  result.status = backend.value()->download(back.data(), *tensor.value(), back.size());
  if (!result.status.ok()) return result;
  result.correct = back == all.input;
  auto program = backend.value()->compile(
      all.network.plan, makeFormulaWeights(3, all.network.tensors), options, Control());
  if (!program.ok()) return failedWith(program.takeStatus());
  auto lane = program.value()->createLane();
  if (!lane.ok()) return failedWith(lane.takeStatus());
  for (int run = 0; run < 2; ++run) {
    Flight flight;
    flight.launch(*lane.value(), all.network, all.input, 1);
    Status status = flight.wait();
    if (status.ok()) {
      result.correct = result.correct && all.correct(flight.outputs);
      continue;
    }
    Flight again;
    again.launch(*lane.value(), all.network, all.input, 1);
    result.recovered = again.wait().ok() && all.correct(again.outputs);
    result.status = std::move(status);
    return result;
  }
  return result;
}

std::string textOf(size_t (*report)(char*, size_t)) {
  char text[4000] = "";
  report(text, sizeof text);
  return text;
}

bool isOneOf(Code code, std::initializer_list<Code> codes) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

struct Kind {
  const char* name;
  cudaError_t code;
  bool losesDevice;
  std::initializer_list<Code> admitted;  // besides a success with the right result
};
// Some failures are survived: an engine is left for the next, a graph for launches one by one, a release is done anyway.
const Kind kKinds[] = {
    {"out of memory", cudaErrorMemoryAllocation, false, {Code::kOutOfMemory}},
    {"device lost", cudaErrorLaunchFailure, true, {Code::kDeviceLost}},
    {"refused",
     cudaErrorLaunchOutOfResources,
     false,
     {Code::kInternal, Code::kUnavailable, Code::kUnsupported, Code::kOutOfMemory}},
};

// A race of few runs: what fails in it fails in the same places.
void reset() {
  resnetSimulatedReset();
  resnetSimulatedSetPace(1000);
  resnetSimulatedSetL2Bytes(1);
}

// One call fails. Answers whether all is as it should be.
bool checkFailure(uint64_t n, const Kind& kind, const CompileOptions& options) {
  reset();
  resnetSimulatedFailAt(n, kind.code);
  const Attempt failed = attempt(options);
  const std::string name =
      "call " + std::to_string(n) + " (" + resnetSimulatedFailedCall() + "), " + kind.name + ": ";
  const auto complain = [&](const std::string& text) {
    fault(__FILE__, __LINE__, name + text);
    return false;
  };
  // A device that cannot be asked what it is cannot be used, whatever the reason.
  const bool unavailable = !failed.began && failed.status.code == Code::kUnavailable;
  if (!failed.status.ok() && !unavailable && !isOneOf(failed.status.code, kind.admitted))
    return complain(std::string("ended as ") + codeName(failed.status.code) + ": " +
                    failed.status.message);
  if (!failed.status.ok() && failed.status.message.empty()) return complain("says nothing");
  if (!failed.correct) return complain("gave a wrong result");
  if (!kind.losesDevice && !failed.recovered) return complain("its lane did not work afterwards");
  const std::string leaks = textOf(resnetSimulatedLeaks);
  if (!leaks.empty()) return complain("leaked " + leaks);
  const std::string violations = textOf(resnetSimulatedViolations);
  if (!violations.empty()) return complain(violations);
  return true;
}

// This process's part of the failures.
struct Share {
  uint64_t index = 0, of = 1;
  bool has(uint64_t turn) const { return turn % of == index; }
} share;

// Of the calls that a run without failures makes every step-th one, each kind from a place of its own.
void checkEvery(uint64_t step, const CompileOptions& options) {
  reset();
  resnetSimulatedFailAt(0, cudaSuccess);
  const Attempt whole = attempt(options);
  const uint64_t calls = resnetSimulatedCallCount();
  CHECK_EQ(whole.status.message, "");
  CHECK(whole.correct);
  uint64_t turn = 0, tried = 0, first = 1;
  int complaints = 0;
  for (const Kind& kind : kKinds) {
    for (uint64_t n = first; n <= calls && complaints < 20; n += step, ++turn) {
      if (!share.has(turn)) continue;
      complaints += checkFailure(n, kind, options) ? 0 : 1;
      ++tried;
    }
    first += step / std::size(kKinds);
  }
  std::printf("  %llu failures among %llu calls\n", static_cast<unsigned long long>(tried),
              static_cast<unsigned long long>(calls));
  // After all that, the process works as at first.
  reset();
  const Attempt after = attempt(options);
  CHECK_EQ(after.status.message, "");
  CHECK(after.correct);
}

uint64_t stepOf(uint64_t otherwise) {
  const char* text = std::getenv("RESNET_FAILURE_STEP");
  return text != nullptr ? std::max(1ull, std::strtoull(text, nullptr, 10)) : otherwise;
}

}  // namespace

TEST("failure: at every call, engines by preference, launches one by one") {
  CompileOptions options;
  options.autotune = Autotune::kOff;
  options.graphs = false;
  checkEvery(stepOf(1), options);
}

TEST("failure: at every call, engines by preference, a captured graph") {
  CompileOptions options;
  options.autotune = Autotune::kOff;
  checkEvery(stepOf(3), options);
}

TEST("failure: at every 7th call, two tracks in a captured graph") {
  CompileOptions options;
  options.autotune = Autotune::kOff;
  options.maxBatch = 2;
  options.tracks = 2;
  options.tileOrder = TileOrder::kAlternate;
  checkEvery(stepOf(7), options);
}

TEST("failure: at every 41st call, engines raced") { checkEvery(stepOf(41), {}); }

TEST("failure: at every piece of device work the device is lost, and said so") {
  CompileOptions options;
  options.autotune = Autotune::kOff;
  resnetSimulatedReset();
  resnetSimulatedFailWorkAt(0, cudaSuccess);
  CHECK(attempt(options).status.ok());
  const uint64_t works = resnetSimulatedWorkCount();
  CHECK(works > 10);
  for (uint64_t n = 1; n <= works; ++n) {
    if (!share.has(n)) continue;
    resnetSimulatedReset();
    resnetSimulatedFailWorkAt(n, cudaErrorIllegalAddress);
    const Attempt failed = attempt(options);
    const std::string got = "work " + std::to_string(n) + ": " + codeName(failed.status.code);
    CHECK_EQ(got, "work " + std::to_string(n) + ": ERR_RESNET_DEVICE_LOST");
    CHECK_EQ(textOf(resnetSimulatedLeaks), "");
    CHECK_EQ(textOf(resnetSimulatedViolations), "");
  }
  resnetSimulatedReset();
  CHECK(attempt(options).status.ok());
}

namespace {

// The cases in this process, with its part of them; ends it.
[[noreturn]] void runShare(uint64_t index, uint64_t of, std::FILE* output, int argc, char** argv) {
  std::thread(watch).detach();
  share = {index, of};
  dup2(fileno(output), STDOUT_FILENO);
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // what a process has found is there when it dies
  const int failed = runCases(argc, argv);
  std::fflush(stdout);
  _exit(failed);
}

// Shows what a process printed, but for its last line; how many of its cases failed, and passed.
int reprint(std::FILE* output, int& passed) {
  std::rewind(output);
  int failed = 0, p = 0, f = 0;
  bool ended = false;
  for (char line[4096]; std::fgets(line, sizeof line, output) != nullptr;) {
    if (std::sscanf(line, "%d passed, %d failed", &p, &f) == 2) {
      ended = true;
      passed = p;
      failed = f;
    } else {
      std::fputs(line, stdout);
    }
  }
  return ended ? failed : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const char* text = std::getenv("RESNET_FAILURE_PROCESSES");
  const uint64_t processes = text != nullptr ? std::max(1ull, std::strtoull(text, nullptr, 10)) : 4;
  std::vector<std::FILE*> outputs;
  std::vector<pid_t> children;
  for (uint64_t i = 0; i < processes; ++i) {
    outputs.push_back(std::tmpfile());
    if (outputs.back() == nullptr) return std::perror("tmpfile"), 1;
    const pid_t child = fork();
    if (child == 0) runShare(i, processes, outputs.back(), argc, argv);
    if (child < 0) return std::perror("fork"), 1;
    children.push_back(child);
  }
  int passed = 0, failed = 0;
  for (uint64_t i = 0; i < processes; ++i) {
    int status = 0;
    waitpid(children[i], &status, 0);
    int own = reprint(outputs[i], passed);
    if (WIFSIGNALED(status)) std::printf("FAILED: ended by signal %d\n", WTERMSIG(status));
    if (status != 0) own = std::max(own, 1);
    failed = std::max(failed, own);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0 ? 1 : 0;
}
