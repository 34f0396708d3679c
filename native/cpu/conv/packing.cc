#include "cpu/conv/packing.h"

#include <algorithm>

#include "cpu/layout.h"
#include "cpu/memory.h"

namespace resnet::cpu {
Result<std::shared_ptr<const PackedBuffer>> packOnce(const Weights& weights, const std::string& key,
                                                     size_t floats,
                                                     const std::function<Status(float*)>& fill) {
  if (std::shared_ptr<const PackedBuffer> found = weights.packed().find(key)) return found;
  std::shared_ptr<float> memory = allocateFloats(floats);
  if (memory == nullptr) {
    return Status::error(Code::kOutOfMemory,
                         "packed weights: expected " + std::to_string(floats * sizeof(float)) +
                             " bytes of memory, received none; free memory or use a "
                             "smaller network");
  }
  RESNET_RETURN_IF_ERROR(fill(memory.get()));
  auto buffer = std::make_shared<PackedBuffer>();
  buffer->data = memory.get();
  buffer->bytes = floats * sizeof(float);
  buffer->owners.push_back(std::move(memory));
  return weights.packed().insert(key, std::move(buffer));
}

PanelPlan planPanels(int k, int channels, int groups, int taps, int panelWidth) {
  PanelPlan plan;
  const int perGroupIn = channels / groups, perGroupOut = k / groups;
  for (int k0 = 0; k0 < k; k0 += panelWidth) {
    const int last = std::min(k, k0 + panelWidth) - 1;
    const int firstChannel = k0 / perGroupOut * perGroupIn;
    const int endChannel = (last / perGroupOut + 1) * perGroupIn;
    Panel panel;
    panel.firstBlock = firstChannel / kBlock;
    panel.blocks = ceilDiv(endChannel, kBlock) - panel.firstBlock;
    panel.offset = plan.weightFloats;
    panel.outputBlocks = ceilDiv(last + 1 - k0, kBlock);
    plan.weightFloats += size_t(panel.blocks) * taps * kBlock * panelWidth;
    plan.panels.push_back(panel);
  }
  plan.shiftFloats = plan.panels.size() * panelWidth;
  return plan;
}

void fillPanels(const PanelPlan& plan, const ConvStep& step, int channels, int panelWidth,
                const FoldedConv& folded, float* out) {
  const int taps = step.kernel.h * step.kernel.w;
  const int perGroupIn = channels / step.groups, perGroupOut = step.k / step.groups;
  float* shifts = out + plan.weightFloats;
  for (size_t p = 0; p < plan.panels.size(); ++p) {
    const Panel& panel = plan.panels[p];
    const int k0 = int(p) * panelWidth, count = std::min(panelWidth, step.k - k0);
    for (int n = 0; n < count; ++n) shifts[k0 + n] = folded.shift[k0 + n];
    for (int b = 0; b < panel.blocks; ++b) {
      const int blockBegin = (panel.firstBlock + b) * kBlock;
      for (int tap = 0; tap < taps; ++tap) {
        float* to = out + panel.offset + (size_t(b) * taps + tap) * kBlock * panelWidth;
        for (int n = 0; n < count; ++n) {
          const int groupBegin = (k0 + n) / perGroupOut * perGroupIn;
          const int begin = std::max(blockBegin, groupBegin);
          const int end = std::min({blockBegin + kBlock, groupBegin + perGroupIn, channels});
          const float* from =
              folded.weight.data() + (size_t(k0 + n) * taps + tap) * perGroupIn - groupBegin;
          const float scale = folded.scale[k0 + n];
          for (int c = begin; c < end; ++c) {
            to[(c - blockBegin) * panelWidth + n] = from[c] * scale;
          }
        }
      }
    }
  }
}

}  // namespace resnet::cpu
