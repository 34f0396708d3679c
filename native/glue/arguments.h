// Reads the fields of one options object. The first thing wrong is kept and what follows is not read, so that a
// function reads all its fields in a row and looks at status() once.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/control.h"
#include "core/status.h"
#include "glue/addon_api.h"
#include "glue/boxes.h"
#include "glue/handle.h"

namespace resnet::glue {

// "the string 'abc'", "3.5", "undefined", "a Float64Array": what an error says it received.
std::string describe(const Napi::Value& value);

// JavaScript's Number.MAX_SAFE_INTEGER.
inline constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;

class Arguments {
 public:
  // `info[0]`, the call object of `function`.
  Arguments(const Napi::CallbackInfo& info, const char* function);
  // A member of a list inside such an object: named 'tensors[2]' in messages.
  Arguments(const Napi::Value& value, std::string where);

  const Status& status() const { return status_; }
  void refuse(const std::string& name, const std::string& expected, const Napi::Value& received);
  void refuse(std::string message);
  // What is wrong in an object inside this one.
  void adopt(const Status& status) {
    if (status_.ok()) status_ = status;
  }

  Napi::Value value(const char* name);  // empty when something was wrong before
  std::string text(const char* name);
  std::optional<std::string> optionalText(const char* name);
  // An integer of [least, most].
  int64_t integer(const char* name, int64_t least, int64_t most);
  double finite(const char* name);
  bool boolean(const char* name);
  bool has(const char* name);  // given, and not undefined
  std::vector<int64_t> shape(const char* name);
  std::vector<Napi::Value> list(const char* name);
  std::vector<std::pair<std::string, std::string>> textByName(const char* name);
  // A view of one of the kinds given by its constructor's name; checked not to be detached or resizable.
  Napi::TypedArray view(const Napi::Value& value, const std::string& name,
                        napi_typedarray_type type);
  // Absent: a fresh one of this environment.
  std::shared_ptr<Control> control();

  // One word of a list.
  template <typename Enum>
  Enum word(const char* name, std::initializer_list<std::pair<const char*, Enum>> words) {
    const std::string given = text(name);
    std::string expected;
    for (const auto& [text, meaning] : words) {
      if (given == text) return meaning;
      expected += (expected.empty() ? "'" : " or '") + std::string(text) + "'";
    }
    refuse(path(name) + " must be " + expected + ", got '" + given + "'");
    return words.begin()->second;
  }

  template <typename Box>
  std::shared_ptr<Box> handle(const char* name) {
    const Napi::Value given = value(name);
    if (given.IsEmpty()) return nullptr;
    Handle<Box>* found = unwrapHandle<Box>(given);
    if (found == nullptr) {
      refuse(name, std::string("a ") + Box::kName + " of this environment", given);
      return nullptr;
    }
    if (found->box() == nullptr && status_.ok()) {
      status_ =
          Status::error(Code::kDisposed, path(name) + ": this " + Box::kName + " was disposed");
    }
    return found->box();
  }

 private:
  bool readable(const std::string& name, const Napi::Value& found);
  std::string path(const std::string& name) const { return "'" + where_ + "." + name + "'"; }

  Napi::Env env_;
  Napi::Object object_;
  std::string where_;
  Status status_;
};

// Where a checked view lies. No JavaScript may run between this and its use.
struct Span {
  void* data = nullptr;
  size_t elements = 0;
};
Span spanOf(const Napi::TypedArray& view);
const char* viewName(napi_typedarray_type type);  // "Float32Array"

}  // namespace resnet::glue
