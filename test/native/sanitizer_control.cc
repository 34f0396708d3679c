// Commits the fault that is named, so that scripts/sanitize.mjs can see that each sanitizer is really on:
// a process that survives this was built without it.
#include <climits>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

namespace {

int readBeyond(const std::vector<int>& numbers, size_t index) { return numbers.data()[index]; }

int overflow(int number) { return number + INT_MAX; }

int race() {
  int counter = 0;
  auto count = [&counter] {
    for (int i = 0; i < 1000; ++i) ++counter;
  };
  std::thread a(count), b(count);
  a.join();
  b.join();
  return counter;
}

}  // namespace

int main(int argc, char** argv) {
  const char* fault = argc == 2 ? argv[1] : "";
  int result = 0;
  if (std::strcmp(fault, "address") == 0)
    result = readBeyond(std::vector<int>(size_t(argc)), 2);
  else if (std::strcmp(fault, "undefined") == 0)
    result = overflow(argc);
  else if (std::strcmp(fault, "thread") == 0)
    result = race();
  else
    return 2;
  std::printf("survived '%s' (%d)\n", fault, result);
  return 0;
}
