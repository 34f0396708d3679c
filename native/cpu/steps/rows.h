// What steps around convolutions share: their split over threads, and the caller's memory.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

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

// The caller's memory of one image of the batch; the pieces add up to it.
template <typename Piece>
auto* imageOf(const std::vector<Piece>& pieces, int image, size_t imageBytes) {
  auto piece = pieces.begin();
  for (; image >= piece->images; ++piece) image -= piece->images;
  using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(piece->data)>>,
                                  const char, char>;
  return static_cast<Byte*>(piece->data) + image * imageBytes;
}

}  // namespace resnet::cpu
