// CMYK to RGB and RGB to grey with the arithmetic of PIL's convert().
#pragma once

#include <optional>

#include "cpu/isa.h"
#include "image/pixels.h"

namespace resnet::image {

// The pixels of `source` within `region` with as many channels as a network of `planes` (1 or 3) wants. Grey stays grey.
// Nothing when that is what they are already.
std::optional<PixelBuffer> convertColours(const PixelView& source, const Region& region, int planes,
                                          cpu::Isa isa);

}  // namespace resnet::image
