// The addon's side of core/plugin.h: opens a plugin's library and gives its devices as Backends.
#pragma once

#include <memory>
#include <string>

#include "core/backend.h"
#include "core/device.h"
#include "core/plugin.h"

namespace resnet {

// A plugin's library. It stays open until the process ends: threads and exit handlers of what it
// uses may outlive every object here.
class Plugin {
 public:
  // Blocking. kUnavailable, with the loader's words: not there, not a plugin, or one of another
  // version of the boundary.
  static Result<std::shared_ptr<const Plugin>> open(const std::string& path);

  std::string kind() const { return table_->kind; }
  std::string version() const { return table_->version; }
  // Blocking: may load a driver and start devices.
  Probe probe() const;
  ResnetLiveCounts liveCounts() const;
  // Blocking. The backend, its programs, lanes and buffers may be used and dropped on any thread.
  Result<std::shared_ptr<Backend>> makeBackend(const BackendOptions& options) const;

 private:
  explicit Plugin(const ResnetPlugin* table) : table_(table) {}

  const ResnetPlugin* table_;
};

}  // namespace resnet
