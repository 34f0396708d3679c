// How an engine is chosen, over scripted engines on the simulated device: the race, what leaves it, the
// order of preference where there is none, and the cache that both end in.
#include "cuda/cudnn/choose.h"

#include <cuda_runtime_api.h>
#include <dirent.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <set>

#include "cuda/error.h"
#include "test/cuda/simulated/control.h"
#include "test/native/check.h"

namespace resnet::cuda::test {
namespace {

ConvolutionShape example() {
  ConvolutionShape shape;
  shape.h = shape.w = 4;
  shape.c = shape.k = 8;
  return shape;
}

// What the engines of a test did.
struct Log {
  std::map<std::string, int> runs;
  std::set<const void*> inputs;
};

struct Script {
  std::string name;
  int copies = 1;  // work of one run
  Status failure;  // of enqueue
  size_t workspace = 0;
};

class ScriptedEngine final : public ConvolutionEngine {
 public:
  ScriptedEngine(Script script, Log& log) : script_(std::move(script)), log_(log) {}
  const std::string& name() const override { return script_.name; }
  size_t workspaceBytes() const override { return script_.workspace; }
  bool runtimeCompiled() const override { return false; }
  bool deterministic() const override { return true; }
  Status enqueue(const ConvolutionBuffers& buffers, cudaStream_t stream) const override {
    ++log_.runs[script_.name];
    log_.inputs.insert(buffers.input);
    if (!script_.failure.ok()) return script_.failure;
    for (int i = 0; i < script_.copies; ++i)
      RESNET_RETURN_IF_CUDA(
          cudaMemcpyAsync(buffers.output, buffers.input, 64, cudaMemcpyDeviceToDevice, stream),
          "copying");
    return Status::okay();
  }
  Result<std::string> serialise() const override { return "stored " + script_.name; }

 private:
  Script script_;
  Log& log_;
};

class ScriptedContext final : public CudnnContext {
 public:
  explicit ScriptedContext(std::vector<Script> scripts) : scripts_(std::move(scripts)) {}
  Result<std::vector<std::shared_ptr<const ConvolutionEngine>>> engines(
      const ConvolutionShape&, const EngineQuery& query,
      std::vector<std::string>& refused) override {
    ++asked;
    limit = query.limit;
    refused.push_back("eng9: not deterministic");
    std::vector<std::shared_ptr<const ConvolutionEngine>> all;
    for (const Script& script : scripts_)
      if (query.limit == 0 || all.size() < static_cast<size_t>(query.limit))
        all.push_back(std::make_shared<ScriptedEngine>(script, log));
    return all;
  }
  Result<std::shared_ptr<const ConvolutionEngine>> deserialise(const ConvolutionShape&,
                                                               const std::string& bytes) override {
    if (!stored.ok()) return stored;
    for (const Script& script : scripts_)
      if (bytes == "stored " + script.name)
        return std::shared_ptr<const ConvolutionEngine>(
            std::make_shared<ScriptedEngine>(script, log));
    return Status::error(Code::kCorrupt, "no such engine");
  }

  Log log;
  int asked = 0, limit = -1;
  Status stored;  // what becomes of a stored engine, unless it is okay

 private:
  std::vector<Script> scripts_;
};

Result<std::shared_ptr<void>> allocate(size_t bytes) {
  void* memory = nullptr;
  RESNET_RETURN_IF_CUDA(cudaMalloc(&memory, bytes), "allocating");
  return std::shared_ptr<void>(memory, [](void* pointer) { cudaFree(pointer); });
}

class Stage {
 public:
  Stage() {
    resnetSimulatedReset();
    CHECK_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
    options.allocate = allocate;
    path_ = std::string(std::getenv("TMPDIR") ? std::getenv("TMPDIR") : "/tmp") +
            "/resnet-choose-XXXXXX";
    CHECK(::mkdtemp(path_.data()) != nullptr);
    cache_.emplace(path_, EngineEnvironment{});
  }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  ~Stage() {
    cudaStreamDestroy(stream_);
    char text[1024] = "";
    if (resnetSimulatedLeaks(text, sizeof text) != 0) resnet::test::fault(__FILE__, __LINE__, text);
    if (resnetSimulatedViolations(text, sizeof text) != 0)
      resnet::test::fault(__FILE__, __LINE__, text);
    if (DIR* folder = ::opendir(path_.c_str())) {
      while (const dirent* item = ::readdir(folder)) ::unlink((path_ + "/" + item->d_name).c_str());
      ::closedir(folder);
    }
    ::rmdir(path_.c_str());
  }
  Result<EngineChoice> choose(CudnnContext& context) {
    return chooseEngine(context, example(), stream_, options);
  }
  void useCache() { options.cache = &*cache_; }

  ChooseOptions options;

 private:
  cudaStream_t stream_ = nullptr;
  std::string path_;
  std::optional<EngineCache> cache_;
};

std::string allOf(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST(
    "choose: every engine runs in the race, on buffers in turn, and the rest are told with their "
    "times") {
  for (bool graphs : {true, false}) {
    Stage stage;
    stage.options.graphs = graphs;
    ScriptedContext context({{"eng1", 8}, {"eng2", 1}, {"eng3", 8}});
    const auto choice = stage.choose(context);
    CHECK(choice.ok());
    if (!choice.ok()) continue;
    CHECK(choice.value().milliseconds > 0);
    CHECK(!choice.value().cached);
    for (const char* name : {"eng1", "eng2", "eng3"}) CHECK(context.log.runs[name] >= 3);
    CHECK(context.log.inputs.size() >= 2);
    CHECK_EQ(choice.value().refused.size(), size_t{3});
    CHECK_HAS(allOf(choice.value().refused), "eng9: not deterministic");
    CHECK_HAS(allOf(choice.value().refused), " ms\n");
  }
}

TEST("choose: an engine that fails leaves the race with its reason and can never win it") {
  Stage stage;
  ScriptedContext context(
      {{"eng1", 1, Status::error(Code::kInternal, "refused to run")}, {"eng2", 4}});
  const auto choice = stage.choose(context);
  CHECK(choice.ok());
  if (!choice.ok()) return;
  CHECK_EQ(choice.value().engine->name(), "eng2");
  CHECK_HAS(allOf(choice.value().refused), "eng1: refused to run");
}

TEST("choose: when every engine fails the error has all reasons") {
  Stage stage;
  ScriptedContext context({{"eng1", 1, Status::error(Code::kInternal, "first reason")},
                           {"eng2", 1, Status::error(Code::kUnsupported, "second reason")}});
  const auto choice = stage.choose(context);
  CHECK_EQ(std::string(codeName(choice.status().code)), "ERR_RESNET_UNSUPPORTED");
  CHECK_HAS(choice.status().message, "first reason");
  CHECK_HAS(choice.status().message, "second reason");
}

TEST("choose: a lost device ends the race for all") {
  Stage stage;
  ScriptedContext context({{"eng1", 1, Status::error(Code::kDeviceLost, "gone")}, {"eng2", 1}});
  CHECK_EQ(std::string(codeName(stage.choose(context).status().code)), "ERR_RESNET_DEVICE_LOST");
  CHECK_EQ(context.log.runs["eng2"], 0);
}

TEST("choose: a cancelled race ends at the next engine") {
  Stage stage;
  Control control;
  control.cancelled = true;
  stage.options.control = &control;
  ScriptedContext context({{"eng1", 1}});
  CHECK(stage.choose(context).status().code == Code::kAborted);
  CHECK_EQ(context.log.runs["eng1"], 0);
}

TEST("choose: without a race it is the first of the order, unmeasured") {
  for (int reason = 0; reason < 3; ++reason) {
    Stage stage;
    if (reason == 0) stage.options.deterministic = true;
    if (reason == 1) stage.options.autotune = Autotune::kOff;
    if (reason == 2) stage.options.allocate = nullptr;
    ScriptedContext context({{"eng1", 9}, {"eng2", 1}});
    const auto choice = stage.choose(context);
    CHECK(choice.ok());
    if (!choice.ok()) continue;
    CHECK_EQ(choice.value().engine->name(), "eng1");
    CHECK_EQ(choice.value().milliseconds, 0.0);
    CHECK_EQ(context.limit, 1);
    CHECK(context.log.runs.empty());
  }
}

TEST("choose: without the memory for a race the order stands, says so, and is not stored") {
  Stage stage;
  stage.useCache();
  resnetSimulatedSetMemoryLimit(512);
  ScriptedContext context({{"eng1", 9}, {"eng2", 1}});
  const auto choice = stage.choose(context);
  CHECK(choice.ok());
  if (!choice.ok()) return;
  CHECK_EQ(choice.value().engine->name(), "eng1");
  CHECK_EQ(choice.value().milliseconds, 0.0);
  CHECK_HAS(allOf(choice.value().refused), "no race: ");
  resnetSimulatedSetMemoryLimit(size_t{1} << 30);
  const auto again = stage.choose(context);
  CHECK(again.ok() && !again.value().cached && again.value().milliseconds > 0);
}

TEST("choose: a choice is made once, then loaded with its time and reasons") {
  Stage stage;
  stage.useCache();
  ScriptedContext context({{"eng1", 4}, {"eng2", 1}});
  const auto first = stage.choose(context);
  CHECK(first.ok());
  const int runs = context.log.runs["eng1"];
  const auto second = stage.choose(context);
  CHECK(second.ok());
  if (!first.ok() || !second.ok()) return;
  CHECK(second.value().cached);
  CHECK_EQ(context.asked, 1);
  CHECK_EQ(context.log.runs["eng1"], runs);
  CHECK_EQ(second.value().engine->name(), first.value().engine->name());
  CHECK_EQ(second.value().milliseconds, first.value().milliseconds);
  CHECK_EQ(allOf(second.value().refused), allOf(first.value().refused));
  // Whatever changes the answer asks anew.
  stage.options.workspaceLimit = 1 << 20;
  CHECK(stage.choose(context).ok());
  stage.options.autotune = Autotune::kFull;
  CHECK(stage.choose(context).ok());
  stage.options.deterministic = true;
  CHECK(stage.choose(context).ok());
  CHECK_EQ(context.asked, 4);
}

TEST("choose: a stored engine that is refused is chosen again and replaced") {
  Stage stage;
  stage.useCache();
  ScriptedContext context({{"eng1", 4}, {"eng2", 1}});
  CHECK(stage.choose(context).ok());
  context.stored = Status::error(Code::kCorrupt, "another device");
  const auto again = stage.choose(context);
  CHECK(again.ok() && !again.value().cached);
  CHECK_EQ(context.asked, 2);
  context.stored = Status::okay();
  const auto mended = stage.choose(context);
  CHECK(mended.ok() && mended.value().cached);
  // What is not the entry's fault is not held against it.
  context.stored = Status::error(Code::kDeviceLost, "gone");
  CHECK_EQ(std::string(codeName(stage.choose(context).status().code)), "ERR_RESNET_DEVICE_LOST");
  context.stored = Status::okay();
  const auto kept = stage.choose(context);
  CHECK(kept.ok() && kept.value().cached);
}

}  // namespace
}  // namespace resnet::cuda::test

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
