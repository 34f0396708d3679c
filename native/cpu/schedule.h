// How a program runs over a batch: phases of consecutive steps, each run over chunks of images
// small enough for their activations to stay in cache, and where in the arena each value lives.
#pragma once

#include <vector>

#include "core/plan.h"
#include "cpu/layout.h"

namespace resnet::cpu {

struct Phase {
  int firstStep = 0, endStep = 0;
  int chunk = 1;  // images per pass over the phase's steps
};

// Chunks never shrink from phase to phase (activations do), so a value is written in chunks no
// larger than it is read in, and only values that cross into another phase need memory for the
// whole batch.
std::vector<Phase> planPhases(const Plan& plan, int batch);

struct ValueMemory {
  size_t offset = 0;        // bytes from the arena's start
  size_t imageFloats = 0;   // distance of two images
  bool wholeBatch = false;  // indexed by image of the batch, else by image of the chunk
};

struct Arena {
  std::vector<ValueMemory> values;  // by ValueId
  size_t bytes = 0;
};

// aliases[v]: the value whose memory v may take over (kNoValue: none); granted where lifetimes and
// sizes admit it.
Arena planArena(const Plan& plan, const std::vector<Phase>& phases,
                const std::vector<Layout>& layouts, const std::vector<ValueId>& aliases, int batch);

}  // namespace resnet::cpu
