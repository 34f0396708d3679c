#include "core/checkpoint.h"

#include "glue/arguments.h"
#include "glue/boxes.h"
#include "glue/functions.h"

namespace resnet::glue {
namespace {

Napi::Value entryToJs(Napi::Env env, const Checkpoint::Entry& entry) {
  Napi::Array shape = Napi::Array::New(env, entry.shape.size());
  for (size_t i = 0; i < entry.shape.size(); ++i) {
    shape.Set(uint32_t(i), Napi::Number::New(env, double(entry.shape[i])));
  }
  Napi::Object tensor = Napi::Object::New(env);
  tensor.Set("name", Napi::String::New(env, entry.name));
  tensor.Set("dtype", Napi::String::New(env, entry.dtype));
  tensor.Set("shape", shape);
  return tensor;
}

// Keys come from the file: defined, not set, or a '__proto__' there would change the object's own prototype.
Napi::Value metadataToJs(Napi::Env env,
                         const std::vector<std::pair<std::string, std::string>>& metadata) {
  Napi::Object object = Napi::Object::New(env);
  for (const auto& [key, text] : metadata) {
    napi_property_descriptor entry{};
    entry.name = Napi::String::New(env, key);
    entry.value = Napi::String::New(env, text);
    entry.attributes = napi_default_jsproperty;
    if (napi_define_properties(env, object, 1, &entry) != napi_ok) break;
  }
  return object;
}

Napi::Value listing(Napi::Env env, std::shared_ptr<CheckpointBox> box) {
  const Checkpoint& checkpoint = *box->checkpoint;
  Napi::Array tensors = Napi::Array::New(env, checkpoint.entries().size());
  uint32_t next = 0;
  for (const auto& entry : checkpoint.entries()) {
    Napi::HandleScope scope(env);
    tensors.Set(next++, entryToJs(env, entry));
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("tensors", tensors);
  result.Set("metadata", metadataToJs(env, checkpoint.metadata()));
  const Napi::Value handle = makeHandle(env, std::move(box));
  if (handle.IsEmpty()) return {};
  result.Set("checkpoint", handle);
  return result;
}

}  // namespace

const napi_type_tag CheckpointBox::kTag = {0x3a84d9e16c5f4b72, 0xa07c51be94d2e602};

std::vector<napi_property_descriptor> CheckpointBox::methods() {
  return {method("dispose", rejecting<disposeAndWait<CheckpointBox>>)};
}

Result<Napi::Value> openCheckpoint(const Napi::CallbackInfo& info) {
  Arguments call(info, "openCheckpoint");
  const std::optional<std::string> path = call.optionalText("path");
  const Napi::Value bytes = call.value("bytes");
  const bool fromBytes = !bytes.IsEmpty() && !bytes.IsUndefined();
  if (path.has_value() == fromBytes) {
    call.refuse("'openCheckpoint' takes either 'path' or 'bytes', got " +
                std::string(fromBytes ? "both" : "neither"));
  }
  if (path && (path->empty() || path->find('\0') != std::string::npos)) {
    call.refuse("'openCheckpoint.path' must be a file's path without NUL characters, got " +
                describe(Napi::String::New(info.Env(), *path)));
  }
  const Napi::TypedArray view =
      fromBytes ? call.view(bytes, "bytes", napi_uint8_array) : Napi::TypedArray();
  const std::shared_ptr<Control> control = call.control();
  RESNET_RETURN_IF_ERROR(call.status());

  std::vector<uint8_t> copy;
  if (fromBytes) {
    const Span span = spanOf(view);
    const auto* begin = static_cast<const uint8_t*>(span.data);
    copy.assign(begin, begin + span.elements);
  }
  using Box = std::shared_ptr<CheckpointBox>;
  return promiseOf<Box>(
      info.Env(),
      [path, control,
       bytes = std::make_shared<std::vector<uint8_t>>(std::move(copy))]() -> Result<Box> {
        if (control->stop()) return Status::aborted();
        const int64_t size = int64_t(bytes->size());
        auto opened = path ? Checkpoint::openFile(*path) : Checkpoint::openBytes(std::move(*bytes));
        if (!opened.ok()) return opened.takeStatus();
        if (control->stop()) return Status::aborted();
        auto box = std::make_shared<CheckpointBox>();
        box->checkpoint = opened.take();
        box->bytes = size;
        return box;
      },
      listing);
}

}  // namespace resnet::glue
