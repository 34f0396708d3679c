// The library's one export: the CUDA backend behind the table of core/plugin.h.
#include "core/plugin_export.h"
#include "cuda/backend.h"

extern "C" __attribute__((visibility("default"))) const ResnetPlugin* resnetPlugin() {
  static const ResnetPlugin* const table = resnet::exportPlugin({
      .kind = "cuda",
      .version = RESNET_VERSION,
      .probe = resnet::cuda::probe,
      .makeBackend = resnet::cuda::makeCudaBackend,
  });
  return table;
}
