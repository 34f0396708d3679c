// The backend's lowering over the real cuDNN, for described devices and without one: which engines
// there are, what they want, whether they are stored and loaded again. Nothing runs, nothing is timed.
#include <algorithm>
#include <chrono>
#include <functional>

#include "cuda/cudnn/convolution.h"
#include "cuda/value.h"
#include "test/cuda/described_cudnn.h"
#include "test/native/check.h"

namespace resnet::cuda::test {
namespace {

constexpr const char* kDevices[] = {"sm75", "sm80", "sm86", "sm89", "sm90", "sm100", "sm120"};
constexpr size_t kWorkspaceLimit = size_t{256} << 20;  // the default of CompileOptions

void onEveryDevice(const std::function<void(const char*)>& body) {
  std::vector<std::function<void()>> bodies;
  for (const char* device : kDevices) bodies.push_back([&body, device] { body(device); });
  inOwnProcesses(bodies);
}

// Channels padded as the backend pads them.
std::vector<ConvolutionRow> paddedTable() {
  std::vector<ConvolutionRow> rows = convolutionTable();
  for (ConvolutionRow& row : rows) {
    row.shape.c = paddedChannels(row.shape.c);
    row.shape.k = paddedChannels(row.shape.k);
  }
  return rows;
}

ConvolutionShape sized(ConvolutionShape shape, int n, DType dtype) {
  shape.n = n;
  shape.dtype = shape.outputType = dtype;
  return shape;
}

constexpr int kBatches = 3;

struct Tally {
  int shapes = 0, joined = 0, compiled = 0;
  size_t workspace = 0;
  std::string workspaceOf;

  void count(const ConvolutionEngine& engine, const std::string& layer) {
    ++shapes;
    compiled += engine.runtimeCompiled();
    if (engine.workspaceBytes() <= workspace) return;
    workspace = engine.workspaceBytes();
    workspaceOf = layer;
  }
};

// The first engine in the order of preference; groups joined to one where cuDNN has none with them, as
// the backend does.
void ask(CudnnContext& context, const ConvolutionRow& row, ConvolutionShape shape, Tally& tally) {
  const EngineQuery query{kWorkspaceLimit, false, 1};
  std::vector<std::string> refused;
  auto engines = context.engines(shape, query, refused);
  if (!engines.ok() && shape.groups > 1) {
    shape.groups = 1;
    ++tally.joined;
    engines = context.engines(shape, query, refused);
  }
  if (!engines.ok()) {
    resnet::test::fault(__FILE__, __LINE__, row.layer + ": " + engines.status().message);
    return;
  }
  CHECK(engines.value().front()->workspaceBytes() <= kWorkspaceLimit);
  tally.count(*engines.value().front(), row.layer);
}

// Which computes neither bfloat16 nor TF32.
bool isTuring(const std::string& device) { return device == "sm75"; }

// Refused, and not only some of it.
void checkWithoutBFloat16(CudnnContext& context, const std::vector<ConvolutionRow>& rows) {
  for (const ConvolutionRow& row : rows) {
    std::vector<std::string> refused;
    const auto engines = context.engines(sized(row.shape, 32, DType::kBFloat16),
                                         {kWorkspaceLimit, false, 1}, refused);
    CHECK_EQ(std::string(codeName(engines.status().code)), "ERR_RESNET_UNSUPPORTED");
  }
}

TEST("real cuDNN: every convolution of every network has an engine on every device") {
  if (!realCudnnInstalled("every convolution")) return;
  const std::vector<ConvolutionRow> rows = paddedTable();
  onEveryDevice([&](const char* device) {
    const auto begin = std::chrono::steady_clock::now();
    const std::unique_ptr<CudnnContext> context = contextFor(device);
    Tally tally;
    int questions = 0;
    for (DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
      if (dtype == DType::kBFloat16 && isTuring(device)) {
        checkWithoutBFloat16(*context, rows);
        continue;
      }
      questions += static_cast<int>(rows.size()) * kBatches;
      for (int n : {1, 32, 256})
        for (const ConvolutionRow& row : rows)
          ask(*context, row, sized(row.shape, n, dtype), tally);
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    CHECK_EQ(tally.shapes, questions);
    CHECK_EQ(tally.compiled, 0);  // a network must not need a compiler to start
    std::printf(
        "  %s: %d of %d have engines, %d compiled at run time, %d with groups joined, "
        "largest workspace %.1f MB (%s), %.0f s\n",
        device, tally.shapes, questions, tally.compiled, tally.joined,
        static_cast<double>(tally.workspace) / 1e6, tally.workspaceOf.c_str(), took.count());
  });
}

ConvolutionShape example() {
  ConvolutionShape shape;
  shape.n = 32;
  shape.h = shape.w = 14;
  shape.c = shape.k = 256;
  shape.kernelH = shape.kernelW = 3;
  shape.padH = shape.padW = 1;
  shape.residual = shape.relu = true;
  return shape;
}

TEST("real cuDNN: engines are stored and loaded again, for their shape and device alone") {
  if (!realCudnnInstalled("stored engines")) return;
  onEveryDevice([](const char* device) {
    const std::unique_ptr<CudnnContext> context = contextFor(device);
    std::vector<std::string> refused;
    const auto engines = context->engines(example(), {kWorkspaceLimit, false, 8}, refused);
    CHECK(engines.ok() && !engines.value().empty());
    if (!engines.ok()) return;
    const Result<std::string> bytes = engines.value().front()->serialise();
    CHECK(bytes.ok());
    const auto loaded = context->deserialise(example(), bytes.value());
    CHECK(loaded.ok());
    if (!loaded.ok()) return;
    CHECK_EQ(loaded.value()->workspaceBytes(), engines.value().front()->workspaceBytes());
    CHECK_EQ(loaded.value()->runtimeCompiled(), engines.value().front()->runtimeCompiled());

    const auto refusedAs = [&](CudnnContext& by, const ConvolutionShape& shape,
                               const std::string& stored) {
      const auto result = by.deserialise(shape, stored);
      return std::string(result.ok() ? "loaded" : codeName(result.status().code));
    };
    ConvolutionShape other = example();
    other.n = 16;
    CHECK_EQ(refusedAs(*context, other, bytes.value()), "ERR_RESNET_CORRUPT");
    CHECK_EQ(refusedAs(*context, example(), ""), "ERR_RESNET_CORRUPT");
    CHECK_EQ(refusedAs(*context, example(), bytes.value().substr(0, bytes.value().size() / 2)),
             "ERR_RESNET_CORRUPT");
    const std::string elsewhere = std::string(device) == "sm90" ? "sm80" : "sm90";
    CHECK_EQ(refusedAs(*contextFor(elsewhere), example(), bytes.value()), "ERR_RESNET_CORRUPT");
  });
}

TEST("real cuDNN: control: what is asked for is what is filtered by") {
  if (!realCudnnInstalled("filters")) return;
  const std::unique_ptr<CudnnContext> context = contextFor("sm90");
  const auto names = [&](const ConvolutionShape& shape, const EngineQuery& query) {
    std::vector<std::string> refused, names;
    const auto engines = context->engines(shape, query, refused);
    if (engines.ok())
      for (const auto& engine : engines.value()) {
        CHECK(engine->workspaceBytes() <= query.workspaceLimit);
        CHECK(!query.deterministic || engine->deterministic());
        names.push_back(engine->name());
      }
    else
      CHECK_EQ(std::string(codeName(engines.status().code)), "ERR_RESNET_UNSUPPORTED");
    return names;
  };
  const ConvolutionShape half = example(), full = sized(half, 32, DType::kFloat32);
  ConvolutionShape tf32 = full;
  tf32.tf32 = true;
  constexpr int kMany = 100;  // a limit, so that nothing is compiled where there are others
  const size_t all = names(half, {kWorkspaceLimit, false, kMany}).size();
  CHECK(all > 20);
  CHECK_EQ(names(half, {kWorkspaceLimit, false, 5}).size(), size_t{5});
  CHECK(names(half, {0, false, kMany}).size() < all);
  CHECK(names(half, {kWorkspaceLimit, true, kMany}).size() <= all);
  CHECK(names(full, {kWorkspaceLimit, false, kMany}).size() <
        names(tf32, {kWorkspaceLimit, false, kMany}).size());
}

// More of pitches: cudnn_questions_test.cc.
TEST(
    "real cuDNN: with a residual, engines that take a channel pitch above C are compiled at run "
    "time") {
  if (!realCudnnInstalled("pitches")) return;
  const std::unique_ptr<CudnnContext> context = contextFor("sm90");
  ConvolutionShape shape = example();
  shape.outputPitch = 512;
  std::vector<std::string> refused;
  const auto engines = context->engines(shape, {kWorkspaceLimit, false, 2}, refused);
  CHECK(engines.ok());
  if (engines.ok())
    for (const auto& engine : engines.value()) CHECK(engine->runtimeCompiled());
}

// What the second form of a graph is for where there is no residual: on Turing nothing, elsewhere one engine.
TEST(
    "real cuDNN: without a residual, swapped operands add one engine that is compiled at run "
    "time") {
  if (!realCudnnInstalled("swapped operands")) return;
  ConvolutionShape plain = example(), wide = example(), stem = example();
  plain.residual = wide.residual = stem.residual = false;
  wide.h = wide.w = 28, wide.k = 512, wide.kernelH = wide.kernelW = 1, wide.padH = wide.padW = 0;
  stem.h = stem.w = 224, stem.c = 8, stem.k = 64, stem.kernelH = stem.kernelW = 7;
  stem.padH = stem.padW = 3, stem.strideH = stem.strideW = 2;
  onEveryDevice([&](const char* device) {
    const std::unique_ptr<CudnnContext> context = contextFor(device);
    const auto compiled = [](const auto& engines) {
      return std::count_if(engines.begin(), engines.end(),
                           [](const auto& engine) { return engine->runtimeCompiled(); });
    };
    for (const ConvolutionShape& shape : {plain, wide, stem}) {
      constexpr int kMany =
          1000;  // a limit, with which the second form is asked only for the first's lack
      std::vector<std::string> refused;
      const auto first = context->engines(shape, {kWorkspaceLimit, false, kMany}, refused);
      const auto both = context->engines(shape, {kWorkspaceLimit, false, 0}, refused);
      CHECK(first.ok() && both.ok());
      if (!first.ok() || !both.ok()) continue;
      const std::string name = std::string(device) + " " + shapeText(shape) + ": ";
      const int more = isTuring(device) ? 0 : 1;
      CHECK_EQ(name + std::to_string(compiled(first.value())), name + "0");
      CHECK_EQ(name + std::to_string(compiled(both.value())), name + std::to_string(more));
      CHECK_EQ(both.value().size(), first.value().size() + size_t(more));
    }
  });
}

// The other way to run a linear step. Engines are compiled for it; all of them use tensor cores, so that
// float32 has some in TF32 alone, which Turing lacks as it lacks bfloat16.
TEST("real cuDNN: every classifier has engines for matrix products, but for exact float32") {
  if (!realCudnnInstalled("matrix products")) return;
  std::vector<ConvolutionRow> classifiers = paddedTable();
  std::erase_if(classifiers, [](const ConvolutionRow& row) { return !row.toFloat32; });
  CHECK_EQ(classifiers.size(), size_t{3});
  const auto products = [](CudnnContext& context, const ConvolutionShape& shape) {
    std::vector<std::string> refused;
    const auto engines = context.engines(shape, {kWorkspaceLimit, false, 2}, refused);
    size_t count = 0;
    if (engines.ok())
      for (const auto& engine : engines.value()) {
        if (!engine->name().starts_with("matmul ")) continue;
        ++count;
        CHECK(engine->runtimeCompiled());
      }
    return count;
  };
  onEveryDevice([&](const char* device) {
    const std::unique_ptr<CudnnContext> context = contextFor(device);
    int asked = 0;
    for (const ConvolutionRow& row : classifiers)
      for (DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat32})
        for (int n : {1, 256}) {
          if (n == 1 && dtype != DType::kFloat16) continue;  // compiling takes a second each
          if (dtype == DType::kBFloat16 && isTuring(device)) continue;
          ConvolutionShape shape = sized(row.shape, n, dtype);
          shape.outputType = DType::kFloat32;
          const size_t exact = products(*context, shape);
          shape.tf32 = dtype == DType::kFloat32;
          const size_t any = shape.tf32 ? products(*context, shape) : exact;
          const std::string name = std::string(device) + " " + shapeText(shape) + ": ";
          const bool none = shape.tf32 && isTuring(device);
          CHECK_EQ(name + std::to_string(exact), name + (shape.tf32 ? "0" : "2"));
          CHECK_EQ(name + std::to_string(any), name + (none ? "0" : "2"));
          ++asked;
        }
    std::printf("  %s: %d classifiers asked for\n", device, asked);
  });
}

}  // namespace
}  // namespace resnet::cuda::test

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
