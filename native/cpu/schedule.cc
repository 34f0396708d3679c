#include "cpu/schedule.h"

#include <algorithm>

#include "core/memory_plan.h"

namespace resnet::cpu {
namespace {

// Activations that one pass may keep warm. Measured on a Zen 4 with 1 MB of L2 and 16 MB or more of
// L3 a core: below 4 MB the weights of the late stages are read too often, above 16 MB activations
// leave L3.
constexpr size_t kChunkBytes = size_t{6} << 20;

size_t valueBytes(const ValueInfo& value) {
  return size_t(value.h) * value.w * ((value.c + kBlock - 1) / kBlock * kBlock) * sizeof(float);
}

struct Lifetime {
  int first = 0, last = 0;
};

std::vector<Lifetime> stepLifetimes(const Plan& plan) {
  std::vector<Lifetime> lifetimes(plan.values.size());
  for (int s = 0; s < int(plan.steps.size()); ++s) {
    for (ValueId v : stepOutputs(plan.steps[s])) lifetimes[v] = {s, s};
    for (ValueId v : stepInputs(plan.steps[s])) lifetimes[v].last = s;
  }
  return lifetimes;
}

}  // namespace

std::vector<Phase> planPhases(const Plan& plan, int batch) {
  std::vector<Phase> phases;
  int chunk = 1;
  for (int s = 0; s < int(plan.steps.size()); ++s) {
    size_t bytes = 1;
    for (ValueId v : stepInputs(plan.steps[s])) bytes += valueBytes(plan.values[v]);
    for (ValueId v : stepOutputs(plan.steps[s])) bytes += valueBytes(plan.values[v]);
    // Doubling: few phases, and chunks that divide the usual batches.
    while (chunk < batch && size_t(chunk) * 2 * bytes <= kChunkBytes) chunk *= 2;
    const int images = std::min(chunk, batch);
    if (phases.empty() || phases.back().chunk != images) {
      phases.push_back({s, s + 1, images});
    } else {
      phases.back().endStep = s + 1;
    }
  }
  return phases;
}

Arena planArena(const Plan& plan, const std::vector<Phase>& phases,
                const std::vector<Layout>& layouts, const std::vector<ValueId>& aliases,
                int batch) {
  const std::vector<Lifetime> lifetimes = stepLifetimes(plan);
  std::vector<int> phaseOf(plan.steps.size());
  for (int p = 0; p < int(phases.size()); ++p) {
    for (int s = phases[p].firstStep; s < phases[p].endStep; ++s) phaseOf[s] = p;
  }

  Arena arena;
  arena.values.resize(plan.values.size());
  std::vector<int> requestOf(plan.values.size(), -1);
  std::vector<BufferRequest> requests;
  // In order of definition, so that a value's alias already has its request.
  std::vector<ValueId> order;
  for (const Step& step : plan.steps) {
    for (ValueId v : stepOutputs(step)) order.push_back(v);
  }
  for (ValueId v : order) {
    const Lifetime& life = lifetimes[v];
    const Phase& born = phases[phaseOf[life.first]];
    const Phase& dies = phases[phaseOf[life.last]];
    const bool crosses = phaseOf[life.first] != phaseOf[life.last];
    // A value that crosses is filled chunk by chunk: it occupies its memory during the whole of
    // both phases.
    const BufferRequest request{
        layouts[v].imageFloats() * sizeof(float) * (crosses ? batch : born.chunk),
        crosses ? born.firstStep : life.first, crosses ? dies.endStep - 1 : life.last};
    arena.values[v].imageFloats = layouts[v].imageFloats();
    arena.values[v].wholeBatch = crosses;

    const ValueId source = aliases[v];
    if (source != kNoValue && lifetimes[source].last == life.first &&
        arena.values[source].wholeBatch == crosses && !crosses &&
        requests[requestOf[source]].bytes == request.bytes) {
      requestOf[v] = requestOf[source];
      requests[requestOf[v]].lastStep = std::max(requests[requestOf[v]].lastStep, request.lastStep);
      continue;
    }
    requestOf[v] = int(requests.size());
    requests.push_back(request);
  }

  const MemoryPlan memory = planMemory(requests, 64);
  for (ValueId v : order) arena.values[v].offset = memory.offsets[requestOf[v]];
  arena.bytes = memory.bytes;
  return arena;
}

}  // namespace resnet::cpu
