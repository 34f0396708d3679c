// How threads share the tiles and weight panels of one step.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/halo.h"
#include "cpu/kernel.h"

namespace resnet::cpu {

// Zeroes this thread's share of an output's halo, by channel blocks of all images.
inline void zeroHaloShare(const Work& work, ValueId output) {
  const View& view = work.view(output);
  if (view.layout->halo == 0) return;
  const int perImage = view.layout->blocks();
  const Range blocks = shareOf(work.images * perImage, work.thread, work.threads);
  for (int i = blocks.begin; i < blocks.end; ++i) {
    const int block = i % perImage;
    zeroHalo(*view.layout, view.image(i / perImage), block, block + 1);
  }
}

// Cycles that a thread spends: once per tile of its share (fetching its pixels, some from another
// core's cache), once per panel (streaming its weights, hidden behind the panel's arithmetic), and
// on every tile with every panel.
struct SplitWork {
  int threads = 1;
  int tiles = 1, panels = 1;
  double largestTile = 1, allTiles = 1;  // in units of a tile of all rows
  double unitCycles = 1;                 // one full tile with one panel
  double tileBytes = 0, panelBytes = 0;
  double tileCycles = 0;  // beside the fetching
};

struct Share {
  Range tiles, panels;
};

// This thread's rectangle of tiles x panels. Pixels are shared out when there are enough of them,
// weights when reading them costs more (stage 4 at batch 1), both on machines with many threads.
// Depends on the arguments only.
inline Share chooseShare(const SplitWork& work, int thread) {
  constexpr double kPixelBytesPerCycle = 4, kWeightBytesPerCycle = 8;
  int bestPanelShares = 1;
  double bestCost = 0;
  for (int panelShares = 1; panelShares <= work.threads; ++panelShares) {
    if (work.threads % panelShares != 0) continue;
    const int tileShares = work.threads / panelShares;
    const double tiles =
        std::min((work.tiles + tileShares - 1) / tileShares * work.largestTile, work.allTiles);
    const double panels = (work.panels + panelShares - 1) / panelShares;
    const double cost =
        tiles * (work.tileCycles + work.tileBytes / kPixelBytesPerCycle) +
        panels * std::max(tiles * work.unitCycles, work.panelBytes / kWeightBytesPerCycle);
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
