#include "glue/boxes.h"
#include "glue/functions.h"

namespace resnet::glue {
namespace {

Result<Napi::Value> cancel(const Napi::CallbackInfo& info) {
  Result<std::shared_ptr<ControlBox>> box = liveReceiver<ControlBox>(info);
  if (!box.ok()) return box.takeStatus();
  box.value()->control->cancelled.store(true);
  return info.Env().Undefined();
}

}  // namespace

const napi_type_tag ControlBox::kTag = {0x6f1d0c5b27e94a31, 0x9b4ee2a70d3c8f01};

std::vector<napi_property_descriptor> ControlBox::methods() {
  return {method("cancel", throwing<cancel>)};
}

Result<Napi::Value> createControl(const Napi::CallbackInfo& info) {
  auto box = std::make_shared<ControlBox>();
  box->control = Environment::of(info.Env()).makeControl();
  return makeHandle(info.Env(), std::move(box));
}

}  // namespace resnet::glue
