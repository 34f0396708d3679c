#include "glue/arguments.h"

#include <cmath>
#include <cstdio>

namespace resnet::glue {
namespace {

constexpr int64_t kMaxRank = 8;
constexpr int64_t kMaxElements = (int64_t{1} << 31) - 1;

std::string shortened(const std::string& text) {
  constexpr size_t kLongest = 60;
  return text.size() <= kLongest ? text : text.substr(0, kLongest) + "…";
}

std::string formatted(double number) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.17g", number);
  return std::isnan(number) ? "NaN" : buffer;
}

// Whether reading a property threw; then the exception is taken, as text: it must not stay pending while we go on.
std::optional<std::string> thrown(Napi::Env env) {
  if (!env.IsExceptionPending()) return std::nullopt;
  napi_value exception = nullptr, message = nullptr;
  napi_get_and_clear_last_exception(env, &exception);
  if (exception == nullptr || !Napi::Value(env, exception).IsObject()) return "its getter threw";
  if (napi_get_named_property(env, exception, "message", &message) != napi_ok) {
    napi_get_and_clear_last_exception(env, &exception);
    return "its getter threw";
  }
  const Napi::Value text(env, message);
  return text.IsString() ? shortened(text.As<Napi::String>().Utf8Value()) : "its getter threw";
}

}  // namespace

std::string describe(const Napi::Value& value) {
  if (value.IsEmpty() || value.IsUndefined()) return "undefined";
  if (value.IsNull()) return "null";
  if (value.IsBoolean()) return value.As<Napi::Boolean>().Value() ? "true" : "false";
  if (value.IsNumber()) return formatted(value.As<Napi::Number>().DoubleValue());
  if (value.IsString())
    return "the string '" + shortened(value.As<Napi::String>().Utf8Value()) + "'";
  if (value.IsFunction()) return "a function";
  if (value.IsTypedArray()) {
    return std::string("a ") + viewName(value.As<Napi::TypedArray>().TypedArrayType());
  }
  if (value.IsArrayBuffer()) return "an ArrayBuffer";
  if (value.IsArray()) return "an array of " + std::to_string(value.As<Napi::Array>().Length());
  if (value.IsObject()) return "an object";
  if (value.IsSymbol()) return "a symbol";
  return "a bigint";
}

const char* viewName(napi_typedarray_type type) {
  switch (type) {
    case napi_int8_array:
      return "Int8Array";
    case napi_uint8_array:
      return "Uint8Array";
    case napi_uint8_clamped_array:
      return "Uint8ClampedArray";
    case napi_int16_array:
      return "Int16Array";
    case napi_uint16_array:
      return "Uint16Array";
    case napi_int32_array:
      return "Int32Array";
    case napi_uint32_array:
      return "Uint32Array";
    case napi_float32_array:
      return "Float32Array";
    case napi_float64_array:
      return "Float64Array";
    case napi_bigint64_array:
      return "BigInt64Array";
    case napi_biguint64_array:
      return "BigUint64Array";
    default:
      return "typed array";
  }
}

Arguments::Arguments(const Napi::CallbackInfo& info, const char* function)
    : Arguments(info[0], std::string(function)) {}

Arguments::Arguments(const Napi::Value& value, std::string where)
    : env_(value.Env()), where_(std::move(where)) {
  if (value.IsObject() && !value.IsFunction()) {
    object_ = value.As<Napi::Object>();
  } else {
    refuse("'" + where_ + "' takes one object, got " + describe(value));
  }
}

void Arguments::refuse(std::string message) {
  if (status_.ok()) status_ = Status::error(Code::kInvalidArgument, std::move(message));
}

void Arguments::refuse(const std::string& name, const std::string& expected,
                       const Napi::Value& received) {
  if (status_.ok()) refuse(path(name) + " must be " + expected + ", got " + describe(received));
}

// False, with the reason kept, for what a Get left empty: its getter threw, or the environment is ending.
bool Arguments::readable(const std::string& name, const Napi::Value& found) {
  const std::optional<std::string> reason = thrown(env_);
  if (!reason && !found.IsEmpty()) return true;
  refuse(path(name) + " could not be read: " + reason.value_or("the environment is ending"));
  return false;
}

Napi::Value Arguments::value(const char* name) {
  if (!status_.ok()) return {};
  const Napi::Value found = object_.Get(name);
  return readable(name, found) ? found : Napi::Value();
}

std::string Arguments::text(const char* name) {
  const Napi::Value found = value(name);
  if (found.IsEmpty()) return {};
  if (found.IsString()) return found.As<Napi::String>().Utf8Value();
  refuse(name, "a string", found);
  return {};
}

std::optional<std::string> Arguments::optionalText(const char* name) {
  const Napi::Value found = value(name);
  if (found.IsEmpty() || found.IsUndefined()) return std::nullopt;
  return text(name);
}

int64_t Arguments::integer(const char* name, int64_t least, int64_t most) {
  const Napi::Value found = value(name);
  if (found.IsEmpty()) return least;
  if (found.IsNumber()) {
    const double number = found.As<Napi::Number>().DoubleValue();
    if (number >= double(least) && number <= double(most) && number == std::floor(number)) {
      return int64_t(number);
    }
  }
  refuse(name, "an integer from " + std::to_string(least) + " to " + std::to_string(most), found);
  return least;
}

double Arguments::finite(const char* name) {
  const Napi::Value found = value(name);
  if (found.IsEmpty()) return 0;
  if (found.IsNumber()) {
    const double number = found.As<Napi::Number>().DoubleValue();
    if (std::isfinite(number)) return number;
  }
  refuse(name, "a finite number", found);
  return 0;
}

bool Arguments::boolean(const char* name) {
  const Napi::Value found = value(name);
  if (found.IsEmpty()) return false;
  if (!found.IsBoolean()) refuse(name, "a boolean", found);
  return found.IsBoolean() && found.As<Napi::Boolean>().Value();
}

bool Arguments::has(const char* name) {
  const Napi::Value found = value(name);
  return !found.IsEmpty() && !found.IsUndefined();
}

std::vector<Napi::Value> Arguments::list(const char* name) {
  const Napi::Value found = value(name);
  if (found.IsEmpty()) return {};
  if (!found.IsArray()) {
    refuse(name, "an array", found);
    return {};
  }
  const Napi::Array array = found.As<Napi::Array>();
  std::vector<Napi::Value> items;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    items.push_back(array.Get(i));
    if (!readable(name, items.back())) return {};
  }
  return items;
}

std::vector<int64_t> Arguments::shape(const char* name) {
  std::vector<int64_t> sizes;
  int64_t elements = 1;
  for (const Napi::Value& item : list(name)) {
    const double size = item.IsNumber() ? item.As<Napi::Number>().DoubleValue() : -1;
    if (!(size >= 0 && size <= double(kMaxElements) && size == std::floor(size))) {
      refuse(name, "sizes from 0 to 2147483647", item);
      return {};
    }
    sizes.push_back(int64_t(size));
    elements *= int64_t(size);  // both factors are below 2^31
    if (elements > kMaxElements || int64_t(sizes.size()) > kMaxRank) {
      refuse(path(name) + " must have at most " + std::to_string(kMaxRank) +
             " sizes and 2147483647 elements");
      return {};
    }
  }
  return sizes;
}

std::vector<std::pair<std::string, std::string>> Arguments::textByName(const char* name) {
  const Napi::Value found = value(name);
  if (found.IsEmpty()) return {};
  napi_value keys = nullptr;
  if (!found.IsObject() || found.IsArray() ||
      napi_get_all_property_names(env_, found, napi_key_own_only,
                                  napi_key_filter(napi_key_enumerable | napi_key_skip_symbols),
                                  napi_key_numbers_to_strings, &keys) != napi_ok) {
    refuse(name, "an object of strings", found);
    return {};
  }
  std::vector<std::pair<std::string, std::string>> entries;
  const Napi::Array names(env_, keys);
  const Napi::Object object = found.As<Napi::Object>();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const Napi::Value key = names.Get(i);
    if (!readable(name, key)) return {};
    const Napi::Value text = object.Get(key);
    if (!readable(name, text)) return {};
    std::string label = key.As<Napi::String>().Utf8Value();
    if (!text.IsString()) {
      refuse(std::string(name) + "['" + shortened(label) + "']", "a string", text);
      return {};
    }
    entries.emplace_back(std::move(label), text.As<Napi::String>().Utf8Value());
  }
  return entries;
}

Napi::TypedArray Arguments::view(const Napi::Value& value, const std::string& name,
                                 napi_typedarray_type type) {
  if (!status_.ok()) return {};
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    refuse(name, std::string("a ") + viewName(type), value);
    return {};
  }
  const Napi::TypedArray view = value.As<Napi::TypedArray>();
  napi_value buffer = nullptr;
  bool detached = false;
  if (napi_get_typedarray_info(env_, view, nullptr, nullptr, nullptr, &buffer, nullptr) !=
          napi_ok ||
      napi_is_detached_arraybuffer(env_, buffer, &detached) != napi_ok || detached) {
    refuse(path(name) + " must not be detached: its buffer was transferred elsewhere");
    return {};
  }
  // Shrinking takes the memory away under a running kernel.
  const Napi::Value resizable = Napi::Object(env_, buffer).Get("resizable");
  if (!readable(name, resizable)) return {};
  if (resizable.IsBoolean() && resizable.As<Napi::Boolean>()) {
    refuse(path(name) + " must not lie in a resizable ArrayBuffer; copy it with slice()");
  }
  return view;
}

std::shared_ptr<Control> Arguments::control() {
  const Napi::Value found = value("control");
  if (found.IsEmpty()) return nullptr;
  if (found.IsUndefined()) return Environment::of(env_).makeControl();
  const auto box = handle<ControlBox>("control");
  return box == nullptr ? nullptr : box->control;
}

Span spanOf(const Napi::TypedArray& view) {
  Span span;
  napi_get_typedarray_info(view.Env(), view, nullptr, &span.elements, &span.data, nullptr, nullptr);
  return span;
}

}  // namespace resnet::glue
