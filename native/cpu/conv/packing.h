// Packed parameters: made once per model, shared by its programs through Weights::packed().
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/fold.h"
#include "core/weights.h"

namespace resnet::cpu {

inline const float* packedFloats(const PackedBuffer& packed) {
  return static_cast<const float*>(packed.data);
}

// The buffer stored under `key`, or a new zero-filled one of `floats` floats that `fill` writes.
Result<std::shared_ptr<const PackedBuffer>> packOnce(const Weights& weights, const std::string& key,
                                                     size_t floats,
                                                     const std::function<Status(float*)>& fill);

// One panel of N output channels, as a microkernel reads it.
struct Panel {
  int firstBlock = 0,
      blocks = 0;        // input channel blocks that its outputs see (all of them without groups)
  size_t offset = 0;     // floats from the start of the packed weights
  int outputBlocks = 0;  // of 16 channels
};

// How [K][R][S][C/groups] becomes panels of [block][tap][16][N], zeros outside the groups and past
// K and C.
struct PanelPlan {
  std::vector<Panel> panels;
  size_t weightFloats = 0;
  size_t shiftFloats = 0;  // [panels][N], behind the weights
};
PanelPlan planPanels(int k, int channels, int groups, int taps, int panelWidth);

// Writes weight * scale into the panels, and shift behind them.
void fillPanels(const PanelPlan& plan, const ConvStep& step, int channels, int panelWidth,
                const FoldedConv& folded, float* out);

}  // namespace resnet::cpu
