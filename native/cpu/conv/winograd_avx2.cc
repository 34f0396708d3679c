// Winograd's transforms for the avx2 tier; what they compute and their bound: winograd_transform.h.
#include "cpu/conv/winograd_transform.h"

#include "cpu/conv/lanes_avx2.h"

namespace resnet::cpu {

const WinogradTransforms kAvx2Winograd[2] = {
    {winogradInput<Avx2Lanes, 2>, winogradOutput<Avx2Lanes, 2>},
    {winogradInput<Avx2Lanes, 4>, winogradOutput<Avx2Lanes, 4>}};

}  // namespace resnet::cpu
