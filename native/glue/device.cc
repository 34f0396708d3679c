#include <utility>

#include "core/driver.h"
#include "glue/arguments.h"
#include "glue/boxes.h"
#include "glue/functions.h"

namespace resnet::glue {
namespace {

constexpr int kMaxDevices = 1024;

Napi::Value text(Napi::Env env, const std::string& value) { return Napi::String::New(env, value); }
Napi::Value number(Napi::Env env, double value) { return Napi::Number::New(env, value); }

Napi::Value ceilingsToJs(Napi::Env env, const Ceilings& ceilings) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("bytesPerSecond", number(env, ceilings.bytesPerSecond));
  result.Set("float16", number(env, ceilings.float16));
  result.Set("bfloat16", number(env, ceilings.bfloat16));
  result.Set("tf32", number(env, ceilings.tf32));
  result.Set("float32", number(env, ceilings.float32));
  result.Set("source", text(env, ceilings.source));
  return result;
}

Napi::Value probeToJs(Napi::Env env, Probe found) {
  Napi::Array devices = Napi::Array::New(env);
  for (const DeviceInfo& device : found.devices) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("index", number(env, device.index));
    entry.Set("name", text(env, device.name));
    entry.Set("uuid", text(env, device.uuid));
    entry.Set("capability", text(env, std::to_string(device.capabilityMajor) + "." +
                                          std::to_string(device.capabilityMinor)));
    entry.Set("multiprocessors", number(env, device.multiprocessors));
    entry.Set("memoryBytes", number(env, double(device.memoryBytes)));
    entry.Set("freeBytes", number(env, double(device.freeBytes)));
    entry.Set("mig", Napi::Boolean::New(env, device.mig));
    entry.Set("ceilings", ceilingsToJs(env, device.ceilings));
    entry.Set("processBytes", number(env, double(device.processBytes)));
    devices.Set(devices.Length(), entry);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("devices", devices);
  result.Set("driver", text(env, found.driver));
  result.Set("runtime", text(env, found.runtime));
  result.Set("cudnn", text(env, found.cudnn));
  result.Set("cudnnPath", text(env, found.cudnnPath));
  result.Set("nvml", text(env, found.nvml));
  result.Set("nvmlReason", text(env, found.nvmlReason));
  result.Set("reason", text(env, found.reason));
  return result;
}

Result<Napi::Value> probe(const Napi::CallbackInfo& info) {
  Result<std::shared_ptr<PluginBox>> box = liveReceiver<PluginBox>(info);
  if (!box.ok()) return box.takeStatus();
  return promiseOf<Probe>(
      info.Env(), [plugin = box.value()->plugin]() -> Result<Probe> { return plugin->probe(); },
      probeToJs);
}

Result<Napi::Value> openDevice(const Napi::CallbackInfo& info) {
  Result<std::shared_ptr<PluginBox>> box = liveReceiver<PluginBox>(info);
  if (!box.ok()) return box.takeStatus();
  Arguments call(info, "openDevice");
  BackendOptions options;
  options.device = int(call.integer("index", 0, kMaxDevices));
  options.memoryLimit = size_t(call.integer("memoryLimit", 0, kMaxSafeInteger));
  RESNET_RETURN_IF_ERROR(call.status());
  using Opened = std::shared_ptr<DeviceBox>;
  return promiseOf<Opened>(
      info.Env(),
      [plugin = box.value()->plugin, options]() -> Result<Opened> {
        Result<std::shared_ptr<Backend>> backend = plugin->makeBackend(options);
        if (!backend.ok()) return backend.takeStatus();
        const std::string name = plugin->kind() + ":" + std::to_string(options.device);
        auto opened = std::make_shared<DeviceBox>();
        opened->device = std::make_shared<OpenDevice>(OpenDevice{name, backend.take()});
        return opened;
      },
      [](Napi::Env env, Opened opened) { return makeHandle(env, std::move(opened)); });
}

Result<Napi::Value> liveCountsOf(const Napi::CallbackInfo& info) {
  Result<std::shared_ptr<PluginBox>> box = liveReceiver<PluginBox>(info);
  if (!box.ok()) return box.takeStatus();
  const Napi::Env env = info.Env();
  const ResnetLiveCounts counts = box.value()->plugin->liveCounts();
  Napi::Object result = Napi::Object::New(env);
  result.Set("backends", number(env, counts.backends));
  result.Set("weights", number(env, counts.weights));
  result.Set("programs", number(env, counts.programs));
  result.Set("lanes", number(env, counts.lanes));
  result.Set("buffers", number(env, counts.buffers));
  result.Set("submissions", number(env, counts.submissions));
  return result;
}

Result<Napi::Value> memoryUse(const Napi::CallbackInfo& info) {
  Result<std::shared_ptr<DeviceBox>> box = liveReceiver<DeviceBox>(info);
  if (!box.ok()) return box.takeStatus();
  const Napi::Env env = info.Env();
  const MemoryUse use = box.value()->device->backend->memory();
  Napi::Object result = Napi::Object::New(env);
  result.Set("weights", number(env, double(use.weights)));
  result.Set("arenas", number(env, double(use.arenas)));
  result.Set("tensors", number(env, double(use.tensors)));
  result.Set("staging", number(env, double(use.staging)));
  result.Set("limit", number(env, double(use.limit)));
  result.Set("process", number(env, double(use.process)));
  result.Set("processReason", text(env, use.processReason));
  return result;
}

Napi::Value memoryToJs(Napi::Env env, std::shared_ptr<DeviceMemoryBox> box) {
  Napi::Object details = Napi::Object::New(env);
  details.Set("bytes", number(env, double(box->buffer->bytes())));
  details.Set("address", Napi::BigInt::New(env, uint64_t(uintptr_t(box->buffer->data()))));
  return makeHandleWithInfo(env, std::move(box), details);
}

Result<Napi::Value> allocate(const Napi::CallbackInfo& info) {
  Result<std::shared_ptr<DeviceBox>> box = liveReceiver<DeviceBox>(info);
  if (!box.ok()) return box.takeStatus();
  Arguments call(info, "allocate");
  const size_t bytes = size_t(call.integer("bytes", 1, kMaxSafeInteger));
  RESNET_RETURN_IF_ERROR(call.status());
  using Made = std::shared_ptr<DeviceMemoryBox>;
  return promiseOf<Made>(
      info.Env(),
      [device = box.value()->device, bytes]() -> Result<Made> {
        Result<std::shared_ptr<DeviceBuffer>> buffer = device->backend->allocate(bytes);
        if (!buffer.ok()) return buffer.takeStatus();
        auto made = std::make_shared<DeviceMemoryBox>();
        made->device = device;
        made->buffer = buffer.take();
        return made;
      },
      memoryToJs);
}

// A copy between a view and the whole of a device's memory, on another thread.
Result<Napi::Value> copy(const Napi::CallbackInfo& info, const char* function, const char* field,
                         Status (*transfer)(DeviceMemoryBox& memory, const Span& view)) {
  Result<std::shared_ptr<DeviceMemoryBox>> box = liveReceiver<DeviceMemoryBox>(info);
  if (!box.ok()) return box.takeStatus();
  Arguments call(info, function);
  const Napi::Value given = call.value(field);
  const napi_typedarray_type type = !given.IsEmpty() && given.IsTypedArray()
                                        ? given.As<Napi::TypedArray>().TypedArrayType()
                                        : napi_uint8_array;
  const Napi::TypedArray view =
      given.IsEmpty() ? Napi::TypedArray() : call.view(given, field, type);
  const std::shared_ptr<Control> control = call.control();
  RESNET_RETURN_IF_ERROR(call.status());
  const size_t bytes = view.ByteLength(), expected = box.value()->buffer->bytes();
  if (bytes != expected) {
    return Status::error(Code::kInvalidArgument,
                         std::string("'") + function + "." + field + "' must have the memory's " +
                             std::to_string(expected) + " bytes, got " + std::to_string(bytes));
  }
  const Span span = spanOf(view);
  return promiseOf<Nothing>(info.Env(),
                            [memory = box.take(), span, control, transfer]() -> Result<Nothing> {
                              if (control->stop()) return Status::aborted();
                              RESNET_RETURN_IF_ERROR(transfer(*memory, span));
                              return Nothing{};
                            },
                            undefined, {{}, view});
}

Result<Napi::Value> upload(const Napi::CallbackInfo& info) {
  return copy(info, "upload", "from", [](DeviceMemoryBox& memory, const Span& view) {
    return memory.device->backend->upload(*memory.buffer, view.data, memory.buffer->bytes());
  });
}
Result<Napi::Value> download(const Napi::CallbackInfo& info) {
  return copy(info, "download", "to", [](DeviceMemoryBox& memory, const Span& view) {
    return memory.device->backend->download(view.data, *memory.buffer, memory.buffer->bytes());
  });
}

Napi::Value pluginToJs(Napi::Env env, std::shared_ptr<PluginBox> box) {
  Napi::Object details = Napi::Object::New(env);
  details.Set("kind", text(env, box->plugin->kind()));
  details.Set("version", text(env, box->plugin->version()));
  details.Set("path", text(env, box->path));
  return makeHandleWithInfo(env, std::move(box), details);
}

}  // namespace

const napi_type_tag PluginBox::kTag = {0x3c7a11d4e0b94f62, 0xa15d8e02c96b3f47};
const napi_type_tag DeviceBox::kTag = {0x91f4b6a3270d4c8e, 0x8d21e75f04bc6a19};
const napi_type_tag DeviceMemoryBox::kTag = {0x4fd09c2be6714a35, 0x9e6370a8d15c42fb};

std::vector<napi_property_descriptor> PluginBox::methods() {
  return {method("probe", rejecting<probe>), method("openDevice", rejecting<openDevice>),
          method("liveCounts", throwing<liveCountsOf>),
          method("dispose", throwing<dispose<PluginBox>>)};
}
std::vector<napi_property_descriptor> DeviceBox::methods() {
  return {method("memory", throwing<memoryUse>), method("allocate", rejecting<allocate>),
          method("dispose", rejecting<disposeAndWait<DeviceBox>>)};
}
std::vector<napi_property_descriptor> DeviceMemoryBox::methods() {
  return {method("upload", rejecting<upload>), method("download", rejecting<download>),
          method("dispose", throwing<dispose<DeviceMemoryBox>>)};
}

Result<Napi::Value> nvidiaDriver(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), nvidiaDriverFile());
}

Result<Napi::Value> openPlugin(const Napi::CallbackInfo& info) {
  Arguments call(info, "openPlugin");
  const std::string path = call.text("path");
  if (path.empty() || path.find('\0') != std::string::npos) {
    call.refuse("'openPlugin.path' must be a library's path without NUL characters, got " +
                describe(Napi::String::New(info.Env(), path)));
  }
  RESNET_RETURN_IF_ERROR(call.status());
  using Opened = std::shared_ptr<PluginBox>;
  return promiseOf<Opened>(
      info.Env(),
      [path]() -> Result<Opened> {
        Result<std::shared_ptr<const Plugin>> plugin = Plugin::open(path);
        if (!plugin.ok()) return plugin.takeStatus();
        auto opened = std::make_shared<PluginBox>();
        opened->plugin = plugin.take();
        opened->path = path;
        return opened;
      },
      pluginToJs);
}

}  // namespace resnet::glue
