// y = relu(sum a * w + shift + residual): the avx512 register tiles, 14 x 2 of 32 zmm with 2 for
// weights and 2 for broadcasts. Arguments, layouts and bounds: microkernel.h, register_tile.h.
#include "cpu/conv/lanes_avx512.h"
#include "cpu/conv/register_tile.h"

namespace resnet::cpu {

const Microkernels kAvx512Microkernels = {Avx512Lanes::kRows, Avx512Lanes::kPanel,
                                          Avx512Lanes::kAnySplit, runTile<Avx512Lanes>};

}  // namespace resnet::cpu
