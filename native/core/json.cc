#include "core/json.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <numeric>
#ifndef __cpp_lib_to_chars
#include <locale>
#include <sstream>
#endif

namespace resnet::json {

namespace {

bool isDigit(char c) { return c >= '0' && c <= '9'; }

// False where a double cannot hold it. Independent of the process's locale.
bool parseDouble(std::string_view text, double* value) {
#ifdef __cpp_lib_to_chars
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
#else
  std::istringstream stream{std::string(text)};
  stream.imbue(std::locale::classic());
  return bool(stream >> *value);
#endif
}

void appendUtf8(std::string* out, uint32_t code) {
  if (code < 0x80) {
    *out += char(code);
  } else if (code < 0x800) {
    *out += char(0xC0 | (code >> 6));
    *out += char(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    *out += char(0xE0 | (code >> 12));
    *out += char(0x80 | ((code >> 6) & 0x3F));
    *out += char(0x80 | (code & 0x3F));
  } else {
    *out += char(0xF0 | (code >> 18));
    *out += char(0x80 | ((code >> 12) & 0x3F));
    *out += char(0x80 | ((code >> 6) & 0x3F));
    *out += char(0x80 | (code & 0x3F));
  }
}

// Length of the well-formed UTF-8 sequence at the start of `text` (Unicode table 3-7), 0 if there
// is none.
size_t utf8Length(std::string_view text) {
  auto byte = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : uint8_t(0); };
  auto tail = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const uint8_t low = first == 0xE0 ? 0xA0 : 0x80, high = first == 0xED ? 0x9F : 0xBF;
    return byte(1) >= low && byte(1) <= high && tail(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const uint8_t low = first == 0xF0 ? 0x90 : 0x80, high = first == 0xF4 ? 0x8F : 0xBF;
    return byte(1) >= low && byte(1) <= high && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

// Recursive descent; the depth bound is also the bound of its stack.
class Parser {
 public:
  Parser(std::string_view text, const Limits& limits) : text_(text), limits_(limits) {}

  Result<Value> parseDocument() {
    Value root;
    skipSpace();
    if (!parseValue(&root, 1)) return error_;
    skipSpace();
    if (at_ != text_.size()) {
      fail("expected the end of the text, found " + found());
      return error_;
    }
    return root;
  }

 private:
  bool failAt(size_t offset, const std::string& message) {
    error_ =
        Status::error(Code::kCorrupt, "JSON at byte " + std::to_string(offset) + ": " + message);
    return false;
  }
  bool fail(const std::string& message) { return failAt(at_, message); }

  std::string found() const {
    if (at_ >= text_.size()) return "the end of the text";
    const auto byte = uint8_t(text_[at_]);
    if (byte >= 0x20 && byte < 0x7F) return std::string("'") + char(byte) + "'";
    char hex[8];
    std::snprintf(hex, sizeof hex, "0x%02X", unsigned(byte));
    return std::string("byte ") + hex;
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool consume(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void skipSpace() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
      ++at_;
    }
  }

  bool parseValue(Value* out, int depth) {
    if (++values_ > limits_.maxValues)
      return fail("more than " + std::to_string(limits_.maxValues) + " values");
    switch (peek()) {
      case '{':
        out->kind = Value::Kind::kObject;
        return parseObject(out, depth);
      case '[':
        out->kind = Value::Kind::kArray;
        return parseArray(out, depth);
      case '"':
        out->kind = Value::Kind::kString;
        return parseString(&out->string);
      case 't':
        out->kind = Value::Kind::kBool;
        out->boolean = true;
        return parseWord("true");
      case 'f':
        out->kind = Value::Kind::kBool;
        return parseWord("false");
      case 'n':
        return parseWord("null");
      default:
        if (peek() == '-' || isDigit(peek())) return parseNumber(out);
        return fail("expected a value, found " + found());
    }
  }

  bool parseWord(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return fail("expected '" + std::string(word) + "'");
    at_ += word.size();
    return true;
  }

  bool parseNumber(Value* out) {
    const size_t begin = at_;
    consume('-');
    if (!isDigit(peek())) return fail("expected a digit, found " + found());
    if (!consume('0')) skipDigits();
    if (isDigit(peek())) return fail("a number must not start with a zero");
    bool integer = true;
    if (consume('.')) {
      integer = false;
      if (!isDigit(peek())) return fail("expected a digit after '.', found " + found());
      skipDigits();
    }
    if (peek() == 'e' || peek() == 'E') {
      integer = false;
      ++at_;
      if (!consume('+')) consume('-');
      if (!isDigit(peek())) return fail("expected a digit of the exponent, found " + found());
      skipDigits();
    }
    const std::string_view digits = text_.substr(begin, at_ - begin);
    out->kind = Value::Kind::kNumber;
    if (!parseDouble(digits, &out->number))
      return failAt(begin, "number out of the range of a double");
    if (integer) {
      const auto [end, error] =
          std::from_chars(digits.data(), digits.data() + digits.size(), out->integer);
      out->isInteger = error == std::errc() && end == digits.data() + digits.size();
    }
    return true;
  }
  void skipDigits() {
    while (isDigit(peek())) ++at_;
  }

  bool parseString(std::string* out) {
    ++at_;  // the quote
    for (;;) {
      const size_t begin = at_;
      while (at_ < text_.size()) {
        const auto c = uint8_t(text_[at_]);
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') break;
        ++at_;
      }
      out->append(text_.substr(begin, at_ - begin));
      if (at_ >= text_.size()) return fail("a string without its closing quote");
      const auto c = uint8_t(text_[at_]);
      if (c == '"') {
        ++at_;
        return true;
      }
      if (c == '\\') {
        if (!parseEscape(out)) return false;
        continue;
      }
      if (c < 0x20)
        return fail("a control character must be escaped in a string, found " + found());
      const size_t length = utf8Length(text_.substr(at_, 4));
      if (length == 0) return fail("expected UTF-8, found " + found());
      out->append(text_.substr(at_, length));
      at_ += length;
    }
  }

  bool parseEscape(std::string* out) {
    const size_t begin = at_;
    ++at_;  // the backslash
    const char kind = peek();
    ++at_;
    switch (kind) {
      case '"':
      case '\\':
      case '/':
        *out += kind;
        return true;
      case 'b':
        *out += '\b';
        return true;
      case 'f':
        *out += '\f';
        return true;
      case 'n':
        *out += '\n';
        return true;
      case 'r':
        *out += '\r';
        return true;
      case 't':
        *out += '\t';
        return true;
      case 'u':
        break;
      default:
        return failAt(begin, "unknown escape in a string");
    }
    uint32_t code = 0;
    if (!parseHex(&code)) return false;
    if (code >= 0xDC00 && code <= 0xDFFF)
      return failAt(begin, "a low surrogate without a high one");
    if (code >= 0xD800 && code <= 0xDBFF) {
      uint32_t low = 0;
      if (!consume('\\') || !consume('u'))
        return failAt(begin, "a high surrogate without a low one");
      if (!parseHex(&low)) return false;
      if (low < 0xDC00 || low > 0xDFFF) return failAt(begin, "a high surrogate without a low one");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    appendUtf8(out, code);
    return true;
  }
  bool parseHex(uint32_t* code) {
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = peek();
      const int digit = isDigit(c)             ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return fail("expected a hexadecimal digit, found " + found());
      *code = *code * 16 + uint32_t(digit);
    }
    return true;
  }

  bool checkDepth(int depth) {
    return depth <= limits_.maxDepth ||
           fail("nested deeper than " + std::to_string(limits_.maxDepth));
  }

  bool parseArray(Value* out, int depth) {
    if (!checkDepth(depth)) return false;
    ++at_;
    skipSpace();
    if (consume(']')) return true;
    for (;;) {
      if (!parseValue(&out->array.emplace_back(), depth + 1)) return false;
      skipSpace();
      if (consume(']')) return true;
      if (!consume(',')) return fail("expected ',' or ']' after an element, found " + found());
      skipSpace();
    }
  }

  bool parseObject(Value* out, int depth) {
    if (!checkDepth(depth)) return false;
    ++at_;
    skipSpace();
    if (consume('}')) return true;
    std::vector<size_t> offsets;  // of the keys
    for (;;) {
      if (peek() != '"') return fail("expected a key in double quotes, found " + found());
      offsets.push_back(at_);
      Value::Member& member = out->object.emplace_back();
      if (!parseString(&member.first)) return false;
      skipSpace();
      if (!consume(':')) return fail("expected ':' after a key, found " + found());
      skipSpace();
      if (!parseValue(&member.second, depth + 1)) return false;
      skipSpace();
      if (consume('}')) return checkKeys(*out, offsets);
      if (!consume(',')) return fail("expected ',' or '}' after a member, found " + found());
      skipSpace();
    }
  }

  // Sorting, not hashing: no choice of keys makes it slow.
  bool checkKeys(const Value& object, const std::vector<size_t>& offsets) {
    const auto& members = object.object;
    std::vector<size_t> order(members.size());
    std::iota(order.begin(), order.end(), size_t(0));
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      const int sign = members[a].first.compare(members[b].first);
      return sign != 0 ? sign < 0 : a < b;
    });
    const auto twin = std::adjacent_find(order.begin(), order.end(), [&](size_t a, size_t b) {
      return members[a].first == members[b].first;
    });
    if (twin == order.end()) return true;
    return failAt(offsets[*(twin + 1)], "duplicate key " + quote(members[*twin].first));
  }

  const std::string_view text_;
  const Limits limits_;
  size_t at_ = 0;
  size_t values_ = 0;
  Status error_;
};

constexpr size_t kDescribed = 60;

void describeTo(const Value& value, std::string* out) {
  if (out->size() > kDescribed) return;
  switch (value.kind) {
    case Value::Kind::kNull:
      *out += "null";
      return;
    case Value::Kind::kBool:
      *out += value.boolean ? "true" : "false";
      return;
    case Value::Kind::kNumber: {
      char text[32];
      if (value.isInteger)
        std::snprintf(text, sizeof text, "%lld", static_cast<long long>(value.integer));
      else
        std::snprintf(text, sizeof text, "%.9g", value.number);
      *out += text;
      return;
    }
    case Value::Kind::kString:
      *out += quote(value.string);
      return;
    case Value::Kind::kArray:
      *out += '[';
      for (size_t i = 0; i < value.array.size() && out->size() <= kDescribed; ++i) {
        if (i > 0) *out += ',';
        describeTo(value.array[i], out);
      }
      *out += ']';
      return;
    case Value::Kind::kObject:
      *out += '{';
      for (size_t i = 0; i < value.object.size() && out->size() <= kDescribed; ++i) {
        if (i > 0) *out += ',';
        *out += quote(value.object[i].first) + ':';
        describeTo(value.object[i].second, out);
      }
      *out += '}';
      return;
  }
}

// Cuts after `limit` bytes, never inside a UTF-8 sequence.
std::string cut(std::string text, size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (uint8_t(text[limit]) & 0xC0) == 0x80) --limit;
  text.resize(limit);
  return text + "...";
}

}  // namespace

const Value* Value::find(std::string_view key) const {
  for (const Member& member : object)
    if (member.first == key) return &member.second;
  return nullptr;
}

Result<Value> parse(std::string_view text, const Limits& limits) {
  return Parser(text, limits).parseDocument();
}

std::string describe(const Value& value) {
  std::string text;
  describeTo(value, &text);
  return cut(std::move(text), kDescribed + 20);
}

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : cut(std::string(text.substr(0, kDescribed + 1)), kDescribed)) {
    if (uint8_t(c) < 0x20 || c == 0x7F) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\u%04x", unsigned(uint8_t(c)));
      out += hex;
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace resnet::json
