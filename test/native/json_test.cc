#include "core/json.h"

#include <cmath>

#include "check.h"

namespace {

using resnet::Code;
using resnet::json::Value;

// The message of a text that must be refused.
std::string refusal(std::string_view text, const resnet::json::Limits& limits = {}) {
  auto result = resnet::json::parse(text, limits);
  if (result.ok()) return "accepted";
  CHECK(result.status().code == Code::kCorrupt);
  return result.status().message;
}

Value accepted(std::string_view text) {
  auto result = resnet::json::parse(text);
  if (!result.ok()) {
    CHECK_EQ(result.status().message, "");
    return {};
  }
  return result.take();
}

TEST("json: values of every kind") {
  const Value root =
      accepted(" {\"a\": [1, -0, 2.5e1, true, false, null, \"x\"], \"b\":{}, \"\":[]} \n");
  CHECK_EQ(root.object.size(), 3u);
  const Value* a = root.find("a");
  CHECK(a != nullptr && a->is(Value::Kind::kArray) && a->array.size() == 7);
  if (a == nullptr || a->array.size() != 7) return;
  CHECK(a->array[0].isInteger && a->array[0].integer == 1 && a->array[0].number == 1);
  CHECK(a->array[1].isInteger && a->array[1].integer == 0 && std::signbit(a->array[1].number));
  CHECK(!a->array[2].isInteger && a->array[2].number == 25);
  CHECK(a->array[3].is(Value::Kind::kBool) && a->array[3].boolean);
  CHECK(a->array[4].is(Value::Kind::kBool) && !a->array[4].boolean);
  CHECK(a->array[5].is(Value::Kind::kNull));
  CHECK_EQ(a->array[6].string, "x");
  CHECK(root.find("b")->is(Value::Kind::kObject) && root.find("b")->object.empty());
  CHECK(root.find("")->is(Value::Kind::kArray));
  CHECK(root.find("c") == nullptr && a->find("a") == nullptr);
}

TEST("json: numbers at their limits") {
  CHECK_EQ(accepted("9223372036854775807").integer, INT64_MAX);
  CHECK_EQ(accepted("-9223372036854775808").integer, INT64_MIN);
  CHECK(!accepted("9223372036854775808").isInteger);
  CHECK_EQ(accepted("9223372036854775808").number, 9223372036854775808.0);
  CHECK(!accepted("1.0").isInteger && !accepted("1e2").isInteger);
  CHECK_EQ(accepted("0.1").number, 0.1);
  CHECK_EQ(accepted("5e-324").number, 5e-324);
  CHECK_HAS(refusal("1e400"), "out of the range");
  for (const char* text :
       {"01", "-", "+1", "1.", ".5", "1e", "1e+", "0x10", "NaN", "Infinity", "-Infinity", "1_0"})
    CHECK_HAS(refusal(text), "JSON at byte");
}

TEST("json: strings, escapes and surrogate pairs") {
  CHECK_EQ(accepted(R"("\"\\\/\b\f\n\r\t")").string, "\"\\/\b\f\n\r\t");
  CHECK_EQ(accepted(R"("\u0041\u00e9\u20AC")").string, "A\xC3\xA9\xE2\x82\xAC");
  CHECK_EQ(accepted(R"("\uD83D\uDE00")").string, "\xF0\x9F\x98\x80");
  CHECK_EQ(accepted("\"\\u0000\"").string, std::string(1, '\0'));
  CHECK_EQ(accepted("\"\xF0\x9F\x98\x80 \xEF\xBF\xBF\"").string, "\xF0\x9F\x98\x80 \xEF\xBF\xBF");
  CHECK_HAS(refusal(R"("\uD83D")"), "high surrogate");
  CHECK_HAS(refusal(R"("\uD83Dx")"), "high surrogate");
  CHECK_HAS(refusal(R"("\uD83D\u0041")"), "high surrogate");
  CHECK_HAS(refusal(R"("\uDE00")"), "low surrogate");
  CHECK_HAS(refusal(R"("\u12G4")"), "hexadecimal");
  CHECK_HAS(refusal(R"("\u12)"), "hexadecimal");
  CHECK_HAS(refusal(R"("\x41")"), "unknown escape");
  CHECK_HAS(refusal("\"\\"), "unknown escape");
  CHECK_HAS(refusal("\"a\nb\""), "at byte 2: a control character");
  CHECK_HAS(refusal("\"abc"), "closing quote");
}

TEST("json: ill-formed UTF-8 is refused") {
  for (const char* bytes :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xC3", "\xC3(", "\xE0\x9F\xBF", "\xE2\x82", "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xF0\x9F\x98"}) {
    std::string text = "\"";
    text += bytes;
    text += '"';
    CHECK_HAS(refusal(text), "expected UTF-8");
  }
  CHECK_HAS(refusal("\xEF\xBB\xBF{}"), "at byte 0: expected a value, found byte 0xEF");
}

TEST("json: structure, with the offset of the fault") {
  CHECK_HAS(refusal(""), "at byte 0: expected a value, found the end of the text");
  CHECK_HAS(refusal("{} x"), "at byte 3: expected the end of the text, found 'x'");
  CHECK_HAS(refusal("[1 2]"), "at byte 3: expected ',' or ']'");
  CHECK_HAS(refusal("[1,]"), "at byte 3: expected a value, found ']'");
  CHECK_HAS(refusal("{\"a\":1,}"), "at byte 7: expected a key in double quotes");
  CHECK_HAS(refusal("{\"a\" 1}"), "expected ':'");
  CHECK_HAS(refusal("{a:1}"), "at byte 1: expected a key");
  CHECK_HAS(refusal("{\"a\":1"), "expected ',' or '}'");
  CHECK_HAS(refusal("['a']"), "expected a value, found '''");
  CHECK_HAS(refusal("[1,/**/2]"), "expected a value, found '/'");
  CHECK_HAS(refusal("tru"), "expected 'true'");
  CHECK_HAS(refusal(std::string("1\0", 2)), "at byte 1");
}

TEST("json: duplicate keys are refused by name") {
  CHECK_HAS(refusal(R"({"a":1,"b":2,"a":3})"), "at byte 13: duplicate key \"a\"");
  CHECK_HAS(refusal(R"([{"x":{"k":1,"\u006b":2}}])"), "duplicate key \"k\"");
  CHECK_EQ(accepted(R"({"a":{"a":1},"b":{"a":2}})").object.size(), 2u);
  std::string many = "{";
  for (int i = 0; i < 50000; ++i) many += "\"key" + std::to_string(i) + "\":0,";
  CHECK_HAS(refusal(many + "\"key31234\":1}"), "duplicate key \"key31234\"");
}

TEST("json: depth and count are bounded") {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  accepted(nested(64));
  CHECK_HAS(refusal(nested(65)), "nested deeper than 64");
  CHECK_HAS(refusal(std::string(10'000'000, '[')), "nested deeper than 64");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  CHECK_HAS(refusal(objects), "nested deeper than 64");
  CHECK_HAS(refusal("[1,2,3]", {.maxDepth = 64, .maxValues = 3}), "more than 3 values");
  CHECK(resnet::json::parse("[1,2,3]", {.maxDepth = 1, .maxValues = 4}).ok());
}

TEST("json: descriptions are short text") {
  CHECK_EQ(resnet::json::describe(accepted(R"([1,-2.5,"a\"b",null,true,{"k":[]}])")),
           R"([1,-2.5,"a\"b",null,true,{"k":[]}])");
  CHECK(resnet::json::describe(
            accepted("[" + std::string(2000, ' ') + "1" + std::string(5000, ' ') + "]"))
            .size() < 9);
  std::string list = "[0";
  for (int i = 0; i < 1000; ++i) list += ",12345";
  CHECK(resnet::json::describe(accepted(list + "]")).size() < 100);
  CHECK_EQ(resnet::json::quote(std::string("a\x01\"")), R"("a\u0001\"")");
  // A cut never leaves half a character.
  std::string accents;
  for (int i = 0; i < 200; ++i) accents += "\xC3\xA9";
  CHECK(resnet::json::parse(resnet::json::quote("x" + accents)).ok());
}

}  // namespace

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
