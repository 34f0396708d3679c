// Controls that must fail: the kernels compiled a second time, with one fault at a time, over the same
// table. Every place in their source that synchronises, shuffles or takes an index is a mutant: a
// barrier left out, a shuffle among half the warp or with half the mask, an index one too large. Each
// must be caught, by a wrong result or by a fault of the emulator; one that is not means that the
// table is too weak there.
#include <map>
#include <set>

#include "cuda/kernels/elements.cuh"
#include "cuda/kernels/kernels.h"
#include "op_table.h"
#include "test/native/check.h"

namespace {

enum class Mutation { kNoBarrier, kNarrow, kHalfMask, kIndexPlusOne };
struct Site {
  Mutation mutation;
  std::string file;
  int line;
  auto operator<=>(const Site&) const = default;
};
std::set<Site> seen;
const Site* active = nullptr;

bool mutated(Mutation mutation, const char* path, int line) {
  const std::string file = std::string(path).substr(std::string(path).rfind('/') + 1);
  const auto [site, inserted] = seen.insert({mutation, file, line});
  return active != nullptr && *active == *site;
}

void barrier(const char* file, int line) {
  if (!mutated(Mutation::kNoBarrier, file, line)) __syncthreads();
}

float shuffleXor(unsigned mask, float value, int apart, const char* file, int line) {
  if (mutated(Mutation::kNarrow, file, line)) return __shfl_xor_sync(mask, value, apart, apart);
  if (mutated(Mutation::kHalfMask, file, line)) mask &= 0x0000FFFFu;
  return __shfl_xor_sync(mask, value, apart);
}

uint3 shifted(uint3 index, const char* file, int line) {
  const bool one = mutated(Mutation::kIndexPlusOne, file, line);
  return {index.x + one, index.y + one, index.z + one};
}

unsigned mutantItem(const char* file, int line) {
  return resnet::cuda::itemIndex() + mutated(Mutation::kIndexPlusOne, file, line);
}

uint3 realThread() { return threadIdx; }
uint3 realBlock() { return blockIdx; }

}  // namespace

namespace resnet::mutant {
using namespace resnet::cuda;
}

#undef threadIdx
#undef blockIdx
#define threadIdx (shifted(realThread(), __FILE__, __LINE__))
#define blockIdx (shifted(realBlock(), __FILE__, __LINE__))
#define itemIndex() mutantItem(__FILE__, __LINE__)
#define __syncthreads() barrier(__FILE__, __LINE__)
#define __shfl_xor_sync(mask, value, apart) shuffleXor(mask, value, apart, __FILE__, __LINE__)
#define cuda mutant
#include "cuda/kernels/global_avg_pool.cu"
#include "cuda/kernels/layout.cu"
#include "cuda/kernels/pack_weights.cu"
#include "cuda/kernels/pointwise.cu"
#include "cuda/kernels/pool.cu"
#include "cuda/kernels/resize.cu"
#include "cuda/kernels/softmax.cu"
#include "cuda/kernels/top_k.cu"
#undef cuda

using namespace resnet;
using namespace resnet::test;

namespace {

constexpr Ops kOps{&mutant::input,
                   &mutant::output,
                   &mutant::maxPool,
                   &mutant::avgPool,
                   &mutant::globalAvgPool,
                   &mutant::affine,
                   &mutant::add,
                   &mutant::relu,
                   &mutant::softmax,
                   &mutant::topK,
                   &mutant::packWeights,
                   &mutant::resize,
                   &mutant::resizeScratchFloats};
constexpr int kOrders = 3;  // each mutant shows in the first as a rule

// The first case that catches the active mutant, with what it saw; empty when none does.
std::string caughtBy(const std::vector<OpCase>& cases, int orders) {
  for (const OpCase& test : cases) {
    for (int order = 1; order <= orders; ++order) {
      cuda::simt::settings().seed = order;
      Report report;
      test.run(kOps, report);
      if (!report.fault.empty()) return test.name + ": " + report.fault;
    }
  }
  return {};
}

std::string nameOf(const Site& site) {
  constexpr const char* kNames[] = {"no barrier", "a shuffle half as wide",
                                    "half the shuffle's mask", "an index one too large"};
  return std::string(kNames[int(site.mutation)]) + " at " + site.file + ":" +
         std::to_string(site.line);
}

}  // namespace

int main(int argc, char** argv) {
#if defined(__SANITIZE_ADDRESS__)
  // A mutant's wild write would end the process rather than a case.
  skip("mutants", "not under the address sanitizer");
  Registry::get().cases.push_back({"the table without a mutation", [] {}});
  return runCases(argc, argv);
#else
  cuda::simt::settings().fault = [](const char*) {};  // the launch's error is what a case sees
  // Where the sites are, and which operations pass them.
  std::map<Site, std::vector<OpCase> > passing;
  std::map<std::string, std::vector<OpCase> > byOp;
  for (OpCase& test : opCases()) {
    if (test.name.find("n65600") == std::string::npos) byOp[test.op].push_back(std::move(test));
  }
  std::vector<std::string> broken;
  for (const auto& [op, cases] : byOp) {
    seen.clear();
    const std::string fault = caughtBy(cases, 1);
    if (!fault.empty()) broken.push_back(fault);
    for (const Site& site : seen) {
      auto& list = passing[site];
      list.insert(list.end(), cases.begin(), cases.end());
    }
  }
  Registry::get().cases.push_back({"the table without a mutation", [broken] {
                                     for (const std::string& each : broken) {
                                       fault(__FILE__, __LINE__, each);
                                     }
                                   }});
  for (const auto& [site, cases] : passing) {
    // Registered by value: `site` outlives the runs.
    Registry::get().cases.push_back({"mutant: " + nameOf(site), [&site, &cases] {
                                       active = &site;
                                       const std::string caught = caughtBy(cases, kOrders);
                                       active = nullptr;
                                       CHECK(!caught.empty());
                                       if (caught.empty()) return;
                                       std::printf("caught %s: %s\n", nameOf(site).c_str(),
                                                   caught.c_str());
                                     }});
  }
  return runCases(argc, argv);
#endif
}
