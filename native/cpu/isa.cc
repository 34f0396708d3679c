#include "cpu/isa.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>

#if RESNET_X64
#ifdef _MSC_VER
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace resnet::cpu {
namespace {

struct IsaName {
  Isa isa;
  const char* name;
};
constexpr IsaName kNames[] = {
    {Isa::kPortable, "portable"}, {Isa::kAvx2, "avx2"}, {Isa::kAvx512, "avx512"}};

#if RESNET_X64
struct CpuidWords {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidWords cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  CpuidWords out;
#ifdef _MSC_VER
  int words[4];
  __cpuidex(words, int(leaf), int(subleaf));
  out = {uint32_t(words[0]), uint32_t(words[1]), uint32_t(words[2]), uint32_t(words[3])};
#else
  if (!__get_cpuid_count(leaf, subleaf, &out.eax, &out.ebx, &out.ecx, &out.edx)) return {};
#endif
  return out;
}

// Which register sets the operating system saves on a context switch.
uint64_t savedState() {
#ifdef _MSC_VER
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t(high) << 32) | low;
#endif
}

struct Need {
  const char* name;
  bool had;
};

IsaSupport judge(Isa isa, std::initializer_list<Need> needs) {
  std::string had, missing;
  for (const Need& need : needs) {
    std::string& list = need.had ? had : missing;
    list += list.empty() ? "" : " ";
    list += need.name;
  }
  if (missing.empty()) return {isa, true, "has " + had};
  return {isa, false, "no " + missing};
}
#endif

bool isIntel() {
#if RESNET_X64
  const CpuidWords vendor = cpuid(0);
  return vendor.ebx == 0x756e6547;  // "Genu"
#else
  return false;
#endif
}

std::vector<IsaSupport> detect() {
  std::vector<IsaSupport> out = {{Isa::kPortable, true, "plain C++"}};
#if RESNET_X64
  const CpuidWords basic = cpuid(1), extended = cpuid(7);
  const bool xsave = basic.ecx >> 27 & 1;
  const uint64_t saved = xsave ? savedState() : 0;
  const Need ymmState{"ymm state saved by the system", (saved & 0x06) == 0x06};
  const Need zmmState{"zmm state saved by the system", (saved & 0xe6) == 0xe6};
  const Need fma{"fma", bool(basic.ecx >> 12 & 1)}, avx2{"avx2", bool(extended.ebx >> 5 & 1)};
  out.push_back(judge(Isa::kAvx2, {avx2, fma, ymmState}));
  out.push_back(judge(Isa::kAvx512, {avx2,
                                     fma,
                                     {"avx512f", bool(extended.ebx >> 16 & 1)},
                                     {"avx512dq", bool(extended.ebx >> 17 & 1)},
                                     {"avx512bw", bool(extended.ebx >> 30 & 1)},
                                     {"avx512vl", bool(extended.ebx >> 31 & 1)},
                                     zmmState}));
#else
  out.push_back({Isa::kAvx2, false, "not an x86-64 build"});
  out.push_back({Isa::kAvx512, false, "not an x86-64 build"});
#endif
  return out;
}

std::string supportedNames() {
  std::string out;
  for (const IsaSupport& s : hostIsas()) {
    if (!s.supported) continue;
    out += out.empty() ? "" : ", ";
    out += isaName(s.isa);
  }
  return out;
}

}  // namespace

const char* isaName(Isa isa) {
  for (const IsaName& n : kNames) {
    if (n.isa == isa) return n.name;
  }
  return "unknown";
}

std::optional<Isa> parseIsa(std::string_view name) {
  for (const IsaName& n : kNames) {
    if (n.name == name) return n.isa;
  }
  return std::nullopt;
}

const std::vector<IsaSupport>& hostIsas() {
  static const std::vector<IsaSupport> supports = detect();
  return supports;
}

TileUnits hostTileUnits() {
#if RESNET_X64
  constexpr uint64_t kTileState = 0x60000;  // shapes and data
  const uint32_t units = cpuid(7).edx;
  const bool saved = (cpuid(1).ecx >> 27 & 1) && (savedState() & kTileState) == kTileState;
  const bool tiles = saved && (units >> 24 & 1);
  return {tiles && (units >> 22 & 1), tiles && (units >> 25 & 1)};
#else
  return {};
#endif
}

Balance hostBalance(Isa isa) {
  // Intel's servers have two units of 512 bits and less bandwidth a core (measured on Emerald Rapids); Zen 4 has 512 bits
  // in two halves.
  static const bool intel = isIntel();
  if (isa == Isa::kAvx512 && intel) return {32, 5};
  return {16, 10};
}

Result<Isa> chooseIsa(std::string_view requested) {
  std::string name(requested);
  const char* origin = "option isa";
  if (name.empty()) {
    const char* variable = std::getenv("RESNET_ISA");
    if (variable != nullptr) name = variable;
    origin = "environment variable RESNET_ISA";
  }
  if (name.empty()) {
    Isa best = Isa::kPortable;
    for (const IsaSupport& s : hostIsas()) {
      if (s.supported) best = s.isa;
    }
    return best;
  }
  const std::optional<Isa> isa = parseIsa(name);
  if (!isa) {
    return Status::error(
        Code::kInvalidArgument,
        std::string(origin) + ": expected 'portable', 'avx2' or 'avx512', received '" + name + "'");
  }
  for (const IsaSupport& s : hostIsas()) {
    if (s.isa == *isa && !s.supported) {
      return Status::error(Code::kUnavailable, std::string(origin) +
                                                   ": this processor cannot run '" + name + "' (" +
                                                   s.reason + "); choose one of " +
                                                   supportedNames() + ", or leave it out");
    }
  }
  return *isa;
}

std::string cpuModelName() {
#if RESNET_X64
  if (cpuid(0x80000000).eax >= 0x80000004) {
    char text[49] = {};
    for (uint32_t i = 0; i < 3; ++i) {
      const CpuidWords words = cpuid(0x80000002 + i);
      std::memcpy(text + 16 * i, &words, 16);
    }
    std::string name(text);
    const size_t begin = name.find_first_not_of(' '), end = name.find_last_not_of(' ');
    if (begin != std::string::npos) return name.substr(begin, end - begin + 1);
  }
  return "unknown x86-64 processor";
#else
  return "unknown processor";
#endif
}

}  // namespace resnet::cpu
