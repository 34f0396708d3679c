// What both sides of core/plugin.h do with its plain structs.
#pragma once

#include <string>
#include <string_view>

#include "core/plugin.h"
#include "core/status.h"

namespace resnet {

inline ResnetText asText(std::string_view text) { return {text.data(), text.size()}; }
inline std::string asString(ResnetText text) {
  return text.size == 0 ? std::string() : std::string(text.data, text.size);
}
inline std::string_view asView(ResnetText text) {
  return text.size == 0 ? std::string_view() : std::string_view(text.data, text.size);
}

// Gives `status` to whoever asked for it; its code.
inline ResnetCode put(const ResnetReport& report, const Status& status) {
  report.put(report.context, ResnetCode(status.code), asText(status.message), asText(status.step));
  return ResnetCode(status.code);
}

// A code of another build that this one does not know is an internal error.
inline Code asCode(ResnetCode code) {
  return code >= 0 && code <= ResnetCode(Code::kInternal) ? Code(code) : Code::kInternal;
}
static_assert(int(Code::kOk) == RESNET_OK && int(Code::kInternal) == 13,
              "a new code changes the boundary: count RESNET_PLUGIN_ABI up");

// Receives a Status: pass `report()` to a function of the table.
class Reported {
 public:
  ResnetReport report() {
    return {this, [](void* self, ResnetCode code, ResnetText message, ResnetText step) {
              static_cast<Reported*>(self)->status_ = {asCode(code), asString(message),
                                                       asString(step)};
            }};
  }
  // What was reported, for a function that returned `code`.
  Status take(ResnetCode code) {
    if (code == RESNET_OK) return Status::okay();
    if (status_.ok()) return Status::error(asCode(code), "the plugin failed without a message");
    return std::move(status_);
  }

 private:
  Status status_;
};

}  // namespace resnet
