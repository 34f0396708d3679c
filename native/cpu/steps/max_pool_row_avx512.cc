// The max pool's row for the avx512 tier; what it computes and its bound: max_pool_row.h.
#include "cpu/steps/max_pool_row.h"

#include "cpu/conv/lanes_avx512.h"

namespace resnet::cpu {

const MaxPoolRowFunction kAvx512MaxPoolRow = maxPoolRow<Avx512Lanes>;

}  // namespace resnet::cpu
