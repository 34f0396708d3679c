// Deterministic mutation of JSON documents and of the bytes around them, for the fuzzers here.
//
// Run i of seed s is a function of both and of nothing else, so that a fault comes back with
// --seed s --first i --runs 1, which is printed when a run dies.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace resnet::fuzz {

class Random {
 public:
  Random(uint64_t seed, uint64_t run)
      : state_(seed * 0xD1342543DE82EF95u + run * 0x9E3779B97F4A7C15u) {
    next();
  }
  uint64_t next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  size_t below(size_t bound) { return bound == 0 ? 0 : size_t(next() % bound); }
  bool oneIn(size_t n) { return below(n) == 0; }
  template <typename T, size_t N>
  const T& pick(const T (&items)[N]) {
    return items[below(N)];
  }

 private:
  uint64_t state_;
};

inline const char* const kNumbers[] = {"0",
                                       "1",
                                       "2",
                                       "3",
                                       "4",
                                       "7",
                                       "8",
                                       "9",
                                       "16",
                                       "-1",
                                       "-0",
                                       "255",
                                       "256",
                                       "1024",
                                       "65535",
                                       "65536",
                                       "1048576",
                                       "1048577",
                                       "2147483647",
                                       "2147483648",
                                       "-2147483648",
                                       "4294967295",
                                       "4294967296",
                                       "9007199254740993",
                                       "4611686018427387904",
                                       "9223372036854775807",
                                       "9223372036854775808",
                                       "-9223372036854775808",
                                       "18446744073709551615",
                                       "18446744073709551616",
                                       "1e3",
                                       "1.5",
                                       "0.0",
                                       "1e308",
                                       "1e309",
                                       "-1e-320",
                                       "1E+2",
                                       "00",
                                       "1."};
inline const char* const kTokens[] = {
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "null",
    "true",
    "false",
    "\"\"",
    "{}",
    "[]",
    "[[[[[[[[",
    "\\u0000",
    "\\uD800",
    "\\uDC00",
    "\\uD83D\\uDE00",
    "\x80",
    "\xC0\x80",
    "\xED\xA0\x80",
    "\xF0\x9F\x98\x80",
    "\xFF",
    " ",
    "\n",
    "\t",
    "\"__metadata__\":{},",
    "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},",
    "\"F16\"",
    "\"I64\"",
    "\"F4\"",
    "\"shape\":[],",
    "\"name\":\"x\","};

// [begin, end) of a run of characters of a number, or of a string with its quotes; empty if none is found.
struct Span {
  size_t begin = 0, end = 0;
  size_t size() const { return end - begin; }
};

inline bool isNumberChar(char c) { return (c >= '0' && c <= '9') || c == '-' || c == '.'; }

inline Span someNumber(const std::string& text, Random& random) {
  for (size_t at = random.below(text.size()), tries = 0; tries < text.size();
       ++tries, at = (at + 1) % text.size()) {
    if (!isNumberChar(text[at])) continue;
    Span span{at, at};
    while (span.begin > 0 && isNumberChar(text[span.begin - 1])) --span.begin;
    while (span.end < text.size() && isNumberChar(text[span.end])) ++span.end;
    return span;
  }
  return {};
}

inline Span someString(const std::string& text, Random& random) {
  const size_t open = text.find('"', random.below(text.size()));
  if (open == std::string::npos) return {};
  const size_t close = text.find('"', open + 1);
  if (close == std::string::npos) return {};
  return {open, close + 1};
}

// From a brace or bracket to its partner, by counting.
inline Span someGroup(const std::string& text, Random& random) {
  const size_t open = text.find_first_of("{[", random.below(text.size()));
  if (open == std::string::npos) return {};
  int depth = 0;
  for (size_t at = open; at < text.size(); ++at) {
    if (text[at] == '{' || text[at] == '[') ++depth;
    if (text[at] == '}' || text[at] == ']') --depth;
    if (depth == 0) return {open, at + 1};
  }
  return {};
}

inline Span someBytes(const std::string& text, Random& random) {
  const size_t begin = random.below(text.size());
  return {begin, begin + random.below(std::min<size_t>(text.size() - begin, 24) + 1)};
}

inline Span someToken(const std::string& text, Random& random) {
  switch (random.below(4)) {
    case 0:
      return someNumber(text, random);
    case 1:
      return someString(text, random);
    case 2:
      return someGroup(text, random);
    default:
      return someBytes(text, random);
  }
}

// One change: half of them keep the document well-formed, so that they reach what lies behind the parser.
inline void mutateJson(std::string* text, Random& random) {
  if (text->empty()) {
    *text = random.pick(kTokens);
    return;
  }
  switch (random.below(12)) {
    case 0:
    case 1:
    case 2:
    case 3: {  // a number for a number
      const Span span = someNumber(*text, random);
      text->replace(span.begin, span.size(), random.pick(kNumbers));
      return;
    }
    case 4: {  // a string of the document for another
      const Span from = someString(*text, random), to = someString(*text, random);
      text->replace(to.begin, to.size(), text->substr(from.begin, from.size()));
      return;
    }
    case 5: {  // a group for another
      const Span from = someGroup(*text, random), to = someGroup(*text, random);
      text->replace(to.begin, to.size(), text->substr(from.begin, from.size()));
      return;
    }
    case 6: {  // a number moved by one
      const Span span = someNumber(*text, random);
      const long long number =
          std::strtoll(text->substr(span.begin, span.size()).c_str(), nullptr, 10);
      if (number < 1'000'000'000 && number > -1'000'000'000)
        text->replace(span.begin, span.size(), std::to_string(number + (random.oneIn(2) ? 1 : -1)));
      return;
    }
    case 7: {  // removal
      const Span span = someToken(*text, random);
      text->erase(span.begin, span.size());
      return;
    }
    case 8: {  // repetition
      const Span span = someToken(*text, random);
      if (text->size() < 100'000) text->insert(span.end, text->substr(span.begin, span.size()));
      return;
    }
    case 9:
      text->insert(random.below(text->size() + 1), random.pick(kTokens));
      return;
    case 10:
      (*text)[random.below(text->size())] ^= char(1 << random.below(8));
      return;
    default:
      (*text)[random.below(text->size())] = char(random.below(256));
  }
}

struct Options {
  uint64_t runs = 20'000, seed = 1, first = 0;
};

inline bool readOptions(int argc, char** argv, Options* options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const uint64_t number = std::strtoull(argv[i + 1], nullptr, 10);
    const std::string_view name = argv[i];
    if (name == "--runs")
      options->runs = number;
    else if (name == "--seed")
      options->seed = number;
    else if (name == "--first")
      options->first = number;
    else
      return false;
  }
  return argc % 2 == 1;
}

struct Running {
  const char* program = "";
  uint64_t seed = 0, run = 0;
};
inline Running running;

inline void printRerun() {
  std::fprintf(stderr, "rerun: %s --seed %llu --first %llu --runs 1\n", running.program,
               static_cast<unsigned long long>(running.seed),
               static_cast<unsigned long long>(running.run));
}

// Ends the process when an invariant does not hold.
inline void demand(bool condition, const char* what, const std::string& detail = {}) {
  if (condition) return;
  std::fprintf(stderr, "FAILED: %s %s\n", what, detail.c_str());
  printRerun();
  std::exit(1);
}

// Calls one(random) per run, which says whether the mutant was accepted. A fuzzer that only accepts or only
// refuses tests nothing, and fails.
template <typename One>
int runAll(int argc, char** argv, One one) {
  Options options;
  if (!readOptions(argc, argv, &options)) {
    std::fprintf(stderr, "usage: %s [--runs N] [--seed S] [--first I]\n", argv[0]);
    return 2;
  }
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_set_death_callback(printRerun);
#endif
  running = {argv[0], options.seed, 0};
  uint64_t accepted = 0;
  for (uint64_t i = 0; i < options.runs; ++i) {
    running.run = options.first + i;
    Random random(options.seed, running.run);
    accepted += one(random) ? 1 : 0;
  }
  const uint64_t refused = options.runs - accepted;
  std::printf("seed %llu: %llu mutants, %llu accepted, %llu refused\n",
              static_cast<unsigned long long>(options.seed),
              static_cast<unsigned long long>(options.runs),
              static_cast<unsigned long long>(accepted), static_cast<unsigned long long>(refused));
  const bool vacuous =
      options.runs >= 1000 && (accepted < options.runs / 100 || refused < options.runs / 100);
  std::printf("%d passed, %d failed\n", vacuous ? 0 : 1, vacuous ? 1 : 0);
  return vacuous ? 1 : 0;
}

}  // namespace resnet::fuzz
