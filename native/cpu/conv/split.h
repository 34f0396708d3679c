// How threads share the tiles and weight panels of one step.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/kernel.h"

namespace resnet::cpu {

struct SplitWork {
  int threads = 1;
  int tiles = 1, panels = 1;  // units of work: one tile with one panel
  double unitCycles = 1;
  double tileBytes = 0, panelBytes = 0;  // read per tile and per panel
};

struct Share {
  Range tiles, panels;
};

// This thread's rectangle of tiles x panels. Pixels are shared out when there are enough of them,
// weights when reading them costs more (stage 4 at batch 1), both on machines with many threads.
// Depends on the arguments only.
inline Share chooseShare(const SplitWork& work, int thread) {
  constexpr double kBytesPerCycle = 12;  // from the shared cache or memory, per thread
  int bestPanelShares = 1;
  double bestCost = 0;
  for (int panelShares = 1; panelShares <= work.threads; ++panelShares) {
    if (work.threads % panelShares != 0) continue;
    const int tileShares = work.threads / panelShares;
    const double tiles = (work.tiles + tileShares - 1) / tileShares;
    const double panels = (work.panels + panelShares - 1) / panelShares;
    const double cost = tiles * panels * work.unitCycles +
                        (tiles * work.tileBytes + panels * work.panelBytes) / kBytesPerCycle;
    if (panelShares == 1 || cost < bestCost) {
      bestCost = cost;
      bestPanelShares = panelShares;
    }
  }
  const int tileShares = work.threads / bestPanelShares;
  return {shareOf(work.tiles, thread % tileShares, tileShares),
          shareOf(work.panels, thread / tileShares, bestPanelShares)};
}

}  // namespace resnet::cpu
