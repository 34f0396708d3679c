// Status and Result: how every layer of the native code reports failure.
//
// Nothing here throws across a thread entry or a C boundary: functions return a Status by value,
// and the caller must look at it. The codes are the public `ERR_RESNET_*` table; lib/errors.ts and
// docs/errors.md list the same ones and a test compares all three.
#pragma once

#include <optional>
#include <string>
#include <utility>

namespace resnet {

// X(enumerator, public code)
#define RESNET_STATUS_CODES(X)                       \
  X(kInvalidArgument, "ERR_RESNET_INVALID_ARGUMENT") \
  X(kUnsupported, "ERR_RESNET_UNSUPPORTED")          \
  X(kUnavailable, "ERR_RESNET_UNAVAILABLE")          \
  X(kIo, "ERR_RESNET_IO")                            \
  X(kOutOfMemory, "ERR_RESNET_OUT_OF_MEMORY")        \
  X(kDeviceLost, "ERR_RESNET_DEVICE_LOST")           \
  X(kCorrupt, "ERR_RESNET_CORRUPT")                  \
  X(kMismatch, "ERR_RESNET_MISMATCH")                \
  X(kImage, "ERR_RESNET_IMAGE")                      \
  X(kQueueFull, "ERR_RESNET_QUEUE_FULL")             \
  X(kDisposed, "ERR_RESNET_DISPOSED")                \
  X(kInternal, "ERR_RESNET_INTERNAL")

enum class Code {
  kOk = 0,
  kAborted,  // never public: the facade rejects with the signal's own reason
#define RESNET_DECLARE_CODE(name, text) name,
  RESNET_STATUS_CODES(RESNET_DECLARE_CODE)
#undef RESNET_DECLARE_CODE
};

// The public text of a code ("ERR_RESNET_IO"); "OK" and "ABORTED" for the two that are not public.
const char* codeName(Code code);

struct [[nodiscard]] Status {
  Code code = Code::kOk;
  std::string message;  // what was expected, which name, the value received, what to do
  std::string step;     // name of the failing step of the plan, empty outside a plan

  bool ok() const { return code == Code::kOk; }

  static Status okay() { return {}; }
  static Status aborted() { return {Code::kAborted, "aborted", {}}; }
  static Status error(Code code, std::string message) { return {code, std::move(message), {}}; }
  Status at(std::string stepName) && {
    if (step.empty()) step = std::move(stepName);
    return std::move(*this);
  }
};

// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  Status takeStatus() { return std::move(status_); }
  T& value() { return *value_; }
  const T& value() const { return *value_; }
  T take() { return std::move(*value_); }

 private:
  std::optional<T> value_;
  Status status_;
};

#define RESNET_RETURN_IF_ERROR(expression)   \
  do {                                       \
    ::resnet::Status status_ = (expression); \
    if (!status_.ok()) return status_;       \
  } while (0)

}  // namespace resnet
