// y = relu(sum a * w + shift + residual): the avx2 register tiles, 6 x 2 of 16 ymm with 2 for
// weights and 1 for the broadcast. Arguments, layouts and bounds: microkernel.h, register_tile.h.
#include "cpu/conv/lanes_avx2.h"
#include "cpu/conv/register_tile.h"

namespace resnet::cpu {

const Microkernels kAvx2Microkernels = {Avx2Lanes::kRows, Avx2Lanes::kPanel, Avx2Lanes::kAnySplit,
                                        runTile<Avx2Lanes>};

}  // namespace resnet::cpu
