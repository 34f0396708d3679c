// The plugin's side of core/plugin.h: any Backend behind the C table.
#pragma once

#include <memory>

#include "core/backend.h"
#include "core/device.h"
#include "core/plugin.h"

namespace resnet {

// What a plugin's library serves; functions may be called on any thread.
struct PluginServer {
  const char* kind = "";
  const char* version = "";
  Probe (*probe)() = nullptr;
  Result<std::shared_ptr<Backend>> (*makeBackend)(const BackendOptions& options) = nullptr;
};

// The table over `server`, for the library's resnetPlugin() to return. A library serves one.
const ResnetPlugin* exportPlugin(const PluginServer& server);

}  // namespace resnet
