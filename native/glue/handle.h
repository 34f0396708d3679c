// Native objects as JavaScript holds them: tagged, so that a foreign object is an error and never a crash.
//
// A box is what a handle owns, through a shared_ptr that work in flight shares. It says
//   static constexpr HandleClass kClass; static constexpr const char* kName; static const napi_type_tag kTag;
//   static std::vector<napi_property_descriptor> methods();
//   int64_t externalBytes() const;   // native memory that V8 should count
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "core/status.h"
#include "glue/environment.h"
#include "glue/settle.h"

namespace resnet::glue {

template <typename Box>
class Handle final : public HandleBase {
 public:
  Handle(Environment& environment, std::shared_ptr<Box> box)
      : environment_(environment.shared_from_this()), box_(std::move(box)) {}

  // Null once disposed.
  const std::shared_ptr<Box>& box() const { return box_; }
  Environment& environment() { return *environment_; }

  // Disposes the handle: its share of the box is the caller's.
  std::shared_ptr<Box> take(napi_env env) {
    if (box_ == nullptr) return nullptr;
    int64_t total = 0;
    napi_adjust_external_memory(env, -box_->externalBytes(), &total);
    return std::exchange(box_, nullptr);
  }
  void close(napi_env env) override { environment_->discard(take(env)); }

 private:
  std::shared_ptr<Environment> environment_;
  std::shared_ptr<Box> box_;
};

template <typename Box>
Napi::Value makeHandle(Napi::Env env, std::shared_ptr<Box> box) {
  Environment& environment = Environment::of(env);
  napi_ref& constructor = environment.constructorOf(Box::kClass);
  napi_value made = nullptr;
  if (constructor == nullptr) {
    const auto construct = [](napi_env, napi_callback_info) -> napi_value { return nullptr; };
    const auto methods = Box::methods();
    if (napi_define_class(env, Box::kName, NAPI_AUTO_LENGTH, construct, nullptr, methods.size(),
                          methods.data(), &made) != napi_ok ||
        napi_create_reference(env, made, 1, &constructor) != napi_ok) {
      return {};
    }
  } else if (napi_get_reference_value(env, constructor, &made) != napi_ok) {
    return {};
  }
  napi_value object = nullptr;
  if (napi_new_instance(env, made, 0, nullptr, &object) != napi_ok) return {};

  auto handle = std::make_unique<Handle<Box>>(environment, std::move(box));
  const auto finalize = [](napi_env live, void* data, void*) {
    std::unique_ptr<Handle<Box>> owned(static_cast<Handle<Box>*>(data));
    owned->environment().forget(owned.get());
    owned->close(live);
  };
  if (napi_wrap(env, object, handle.get(), finalize, nullptr, nullptr) != napi_ok) return {};
  Handle<Box>* wrapped = handle.release();  // the object's from here on
  environment.remember(wrapped);
  int64_t total = 0;
  napi_adjust_external_memory(env, wrapped->box()->externalBytes(), &total);
  if (napi_type_tag_object(env, object, &Box::kTag) != napi_ok) return {};
  return {env, object};
}

// The same with a field `info`; `details` is frozen.
template <typename Box>
Napi::Value makeHandleWithInfo(Napi::Env env, std::shared_ptr<Box> box, Napi::Object details) {
  details.Freeze();
  const Napi::Value handle = makeHandle(env, std::move(box));
  if (handle.IsEmpty()) return handle;
  napi_property_descriptor entry{};
  entry.utf8name = "info";
  entry.value = details;
  entry.attributes = napi_enumerable;
  if (napi_define_properties(env, handle, 1, &entry) != napi_ok) return {};
  return handle;
}

// Null when `value` is not a handle of this kind.
template <typename Box>
Handle<Box>* unwrapHandle(const Napi::Value& value) {
  bool tagged = false;
  void* data = nullptr;
  if (!value.IsObject() ||
      napi_check_object_type_tag(value.Env(), value, &Box::kTag, &tagged) != napi_ok || !tagged ||
      napi_unwrap(value.Env(), value, &data) != napi_ok) {
    return nullptr;
  }
  return static_cast<Handle<Box>*>(data);
}

// The handle that a method was called on.
template <typename Box>
Result<Handle<Box>*> receiver(const Napi::CallbackInfo& info) {
  Handle<Box>* handle = unwrapHandle<Box>(info.This());
  if (handle == nullptr) {
    return Status::error(Code::kInvalidArgument,
                         std::string("this method must be called on a ") + Box::kName);
  }
  return handle;
}
template <typename Box>
Result<std::shared_ptr<Box>> liveReceiver(const Napi::CallbackInfo& info) {
  Result<Handle<Box>*> handle = receiver<Box>(info);
  if (!handle.ok()) return handle.takeStatus();
  if (handle.value()->box() == nullptr) {
    return Status::error(Code::kDisposed, std::string("this ") + Box::kName + " was disposed");
  }
  return handle.value()->box();
}

// dispose(): drops the handle's share; work in flight keeps its own.
template <typename Box>
Result<Napi::Value> dispose(const Napi::CallbackInfo& info) {
  Result<Handle<Box>*> handle = receiver<Box>(info);
  if (!handle.ok()) return handle.takeStatus();
  handle.value()->close(info.Env());
  return info.Env().Undefined();
}

// The same, with a promise that resolves once what nothing else holds is freed.
template <typename Box>
Result<Napi::Value> disposeAndWait(const Napi::CallbackInfo& info) {
  Result<Handle<Box>*> handle = receiver<Box>(info);
  if (!handle.ok()) return handle.takeStatus();
  auto disposal = std::make_unique<Promised<Nothing>>(info.Env(), undefined);
  const Napi::Value promise = disposal->promise();
  freeThenSettle(handle.value()->environment(), handle.value()->take(info.Env()),
                 std::move(disposal));
  return promise;
}

inline napi_property_descriptor method(const char* name, napi_callback callback,
                                       napi_property_attributes attributes = napi_default_method) {
  napi_property_descriptor descriptor{};
  descriptor.utf8name = name;
  descriptor.method = callback;
  descriptor.attributes = attributes;
  return descriptor;
}

}  // namespace resnet::glue
