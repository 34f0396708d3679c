// Splits a step over threads by rows of output blocks, in memory order.
#pragma once

#include <algorithm>

#include "cpu/kernel.h"

namespace resnet::cpu {

// Calls visit(image, block, rowBegin, rowEnd) for this thread's share of images x blocks x rows.
template <typename Visit>
void forRows(const Work& work, int blocks, int rows, Visit visit) {
  const Range share = shareOf(work.images * blocks * rows, work.thread, work.threads);
  for (int position = share.begin; position < share.end;) {
    const int row = position % rows;
    const int plane = position / rows;
    const int rowEnd = std::min(rows, row + share.end - position);
    visit(plane / blocks, plane % blocks, row, rowEnd);
    position += rowEnd - row;
  }
}

}  // namespace resnet::cpu
