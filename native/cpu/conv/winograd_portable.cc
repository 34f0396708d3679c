// Winograd's transforms for the portable tier; what they compute and their bound:
// winograd_transform.h.
#include "cpu/conv/winograd_transform.h"

#include "cpu/conv/lanes_portable.h"

namespace resnet::cpu {

const WinogradTransforms kPortableWinograd[2] = {
    {winogradInput<PortableLanes, 2>, winogradOutput<PortableLanes, 2>},
    {winogradInput<PortableLanes, 4>, winogradOutput<PortableLanes, 4>}};

}  // namespace resnet::cpu
