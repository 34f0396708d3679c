// The max pool's row for the portable tier; what it computes and its bound: max_pool_row.h.
#include "cpu/steps/max_pool_row.h"

#include "cpu/conv/lanes_portable.h"

namespace resnet::cpu {

const MaxPoolRowFunction kPortableMaxPoolRow = maxPoolRow<PortableLanes>;

}  // namespace resnet::cpu
