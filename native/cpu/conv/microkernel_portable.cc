// y = relu(sum a * w + shift + residual): the portable register tiles, 4 x 16 floats.
// Arguments, layouts and bounds: microkernel.h, register_tile.h.
#include "cpu/conv/lanes_portable.h"
#include "cpu/conv/register_tile.h"

namespace resnet::cpu {

const Microkernels kPortableMicrokernels = {PortableLanes::kRows, PortableLanes::kPanel,
                                            runTile<PortableLanes>};

}  // namespace resnet::cpu
