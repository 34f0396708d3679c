// Winograd's transforms for the avx512 tier; what they compute and their bound:
// winograd_transform.h.
#include "cpu/conv/winograd_transform.h"

#include "cpu/conv/lanes_avx512.h"

namespace resnet::cpu {

const WinogradTransforms kAvx512Winograd[2] = {
    {winogradInput<Avx512Lanes, 2>, winogradOutput<Avx512Lanes, 2>},
    {winogradInput<Avx512Lanes, 4>, winogradOutput<Avx512Lanes, 4>}};

}  // namespace resnet::cpu
