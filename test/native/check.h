// What the native tests share: named tests, checks that say what they got, filters, a last line of
// counts.
#pragma once

#include <cstdio>
#include <functional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace resnet::test {

struct Case {
  std::string name;
  std::function<void()> body;
};

struct Registry {
  std::vector<Case> cases;
  std::vector<std::string> skips;  // "name (reason)", printed at the end
  int faults = 0;                  // of the running case

  static Registry& get() {
    static Registry registry;
    return registry;
  }
};

struct Registration {
  Registration(std::string name, std::function<void()> body) {
    Registry::get().cases.push_back({std::move(name), std::move(body)});
  }
};

inline void fault(const char* file, int line, const std::string& message) {
  ++Registry::get().faults;
  std::printf("  %s:%d: %s\n", file, line, message.c_str());
}

inline void skip(const std::string& name, const std::string& reason) {
  Registry::get().skips.push_back(name + " (" + reason + ")");
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

template <typename A, typename B>
void checkEqual(const char* file, int line, const char* expression, const A& got,
                const B& expected) {
  if (got == expected) return;
  std::ostringstream text;
  text.precision(17);
  text << expression << " is " << got << ", expected " << expected;
  fault(file, line, text.str());
}

// Runs the cases whose name contains one of the arguments, all without arguments. For main().
inline int runCases(int argc, char** argv) {
  int passed = 0, failed = 0;
  for (const Case& test : Registry::get().cases) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i) wanted = wanted || contains(test.name, argv[i]);
    if (!wanted) continue;
    Registry::get().faults = 0;
    test.body();
    if (Registry::get().faults > 0) std::printf("FAILED %s\n", test.name.c_str());
    ++(Registry::get().faults > 0 ? failed : passed);
  }
  for (const std::string& line : Registry::get().skips) std::printf("skipped: %s\n", line.c_str());
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0 ? 1 : 0;
}

}  // namespace resnet::test

#define RESNET_JOIN2(a, b) a##b
#define RESNET_JOIN(a, b) RESNET_JOIN2(a, b)
// TEST("plan: a residual of another shape is refused") { ... }
#define TEST(name)                                                            \
  static void RESNET_JOIN(testBody, __LINE__)();                              \
  static const ::resnet::test::Registration RESNET_JOIN(testEntry, __LINE__)( \
      name, RESNET_JOIN(testBody, __LINE__));                                 \
  static void RESNET_JOIN(testBody, __LINE__)()

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) ::resnet::test::fault(__FILE__, __LINE__, #condition); \
  } while (0)
#define CHECK_EQ(got, expected) ::resnet::test::checkEqual(__FILE__, __LINE__, #got, got, expected)
// The text `got` has `part` in it.
#define CHECK_HAS(got, part)                                                          \
  do {                                                                                \
    const std::string text_ = (got);                                                  \
    if (!::resnet::test::contains(text_, part))                                       \
      ::resnet::test::fault(__FILE__, __LINE__,                                       \
                            "\"" + text_ + "\" lacks \"" + std::string(part) + "\""); \
  } while (0)
