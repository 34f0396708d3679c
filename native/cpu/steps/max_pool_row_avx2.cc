// The max pool's row for the avx2 tier; what it computes and its bound: max_pool_row.h.
#include "cpu/steps/max_pool_row.h"

#include "cpu/conv/lanes_avx2.h"

namespace resnet::cpu {

const MaxPoolRowFunction kAvx2MaxPoolRow = maxPoolRow<Avx2Lanes>;

}  // namespace resnet::cpu
