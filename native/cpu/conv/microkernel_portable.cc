// y = relu(sum a * w + shift + residual): the portable register tiles, 2 x 4 of 16 vectors on
// x86-64, 6 x 4 of 32 elsewhere.
// Arguments, layouts and bounds: microkernel.h, register_tile.h.
#include "cpu/conv/lanes_portable.h"
#include "cpu/conv/register_tile.h"

namespace resnet::cpu {

const Microkernels kPortableMicrokernels = {PortableLanes::kRows, PortableLanes::kPanel,
                                            PortableLanes::kAnySplit, runTile<PortableLanes>};

}  // namespace resnet::cpu
