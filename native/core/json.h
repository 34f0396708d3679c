// A strict JSON reader (RFC 8259): UTF-8 validated, duplicate keys refused, depth bounded, no
// extensions. Own code because the two documents read here need what common parsers hide: a
// safetensors header must be refused when a key occurs twice, and every failure must carry a byte
// offset. Fuzzed with the checkpoint reader.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/status.h"

namespace resnet::json {

class Value {
 public:
  enum class Kind { kNull, kBool, kNumber, kString, kArray, kObject };
  using Member = std::pair<std::string, Value>;

  Kind kind = Kind::kNull;
  bool boolean = false;
  double number = 0;
  bool isInteger = false;  // written without fraction or exponent and within int64
  int64_t integer = 0;
  std::string string;
  std::vector<Value> array;
  std::vector<Member> object;  // in file order

  bool is(Kind k) const { return kind == k; }
  const Value* find(std::string_view key) const;  // null when absent or not an object
};

struct Limits {
  int maxDepth = 64;
  // A value takes some 100 bytes here and as little as 2 in the text: without a bound a small file could
  // ask for gigabytes.
  size_t maxValues = 2'000'000;
};

// Parses the whole text; trailing bytes other than white space are an error (kCorrupt).
Result<Value> parse(std::string_view text, const Limits& limits = {});

// The value as JSON text for a message, cut after some 60 characters.
std::string describe(const Value& value);
// A string quoted for a message: control characters escaped, cut after some 60 characters.
std::string quote(std::string_view text);

}  // namespace resnet::json
