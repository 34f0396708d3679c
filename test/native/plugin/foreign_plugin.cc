// A library that is not this version's plugin: RESNET_FOREIGN says how.
//   1  a table of another version of the interface   2  a table too short   3  no table   4  nothing exported
#include "core/plugin.h"

#if RESNET_FOREIGN == 4
extern "C" __attribute__((visibility("default"))) int resnetOther() { return 0; }
#else
extern "C" __attribute__((visibility("default"))) const ResnetPlugin* resnetPlugin() {
  static ResnetPlugin table{};
  table.abi = RESNET_FOREIGN == 1 ? RESNET_PLUGIN_ABI + 41 : RESNET_PLUGIN_ABI;
  table.size = RESNET_FOREIGN == 2 ? 64 : sizeof table;
  table.kind = "foreign";
  table.version = "9.9.9";
  return RESNET_FOREIGN == 3 ? nullptr : &table;
}
#endif
