// Products of 16 x 64-byte tiles where the host has Intel's AMX: bfloat16 into float32, int8 into int32.
// Bound: compute.
#include "cpu/limits/limits.h"

#if defined(RESNET_X64) && defined(__linux__)

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "cpu/isa.h"

namespace resnet::cpu {
namespace {

constexpr int kRows = 16, kRowBytes = 64;
constexpr int kSums = 6;  // tiles 0 to 5; a product takes 52 cycles, and one can begin every 16

// What LDTILECFG reads (Intel's Architecture Instruction Set Extensions, chapter 3): palette 1, eight tiles, all whole.
struct alignas(64) TileShapes {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t rowBytes[16] = {};
  uint8_t rows[16] = {};
  TileShapes() {
    for (int tile = 0; tile < 8; ++tile) {
      rowBytes[tile] = kRowBytes;
      rows[tile] = kRows;
    }
  }
};
static_assert(sizeof(TileShapes) == 64);

// As assembly, since the file is compiled without these instructions. Sums in tiles 0 to 5, operands in 6 and 7.
#define RESNET_TILE_PRODUCTS(product)                                                          \
  __asm__ volatile(product                                                                     \
                   " %%tmm7, %%tmm6, %%tmm0\n\t" product " %%tmm7, %%tmm6, %%tmm1\n\t" product \
                   " %%tmm7, %%tmm6, %%tmm2\n\t" product " %%tmm7, %%tmm6, %%tmm3\n\t" product \
                   " %%tmm7, %%tmm6, %%tmm4\n\t" product " %%tmm7, %%tmm6, %%tmm5" ::          \
                       : "memory")

void begin(int operandByte) {
  const TileShapes shapes;
  alignas(64) uint8_t operand[kRows * kRowBytes];
  std::memset(operand, operandByte, sizeof operand);
  const int64_t stride = kRowBytes;
  __asm__ volatile(
      "ldtilecfg %0\n\t"
      "tileloadd (%1,%2,1), %%tmm6\n\t"
      "tileloadd (%1,%2,1), %%tmm7\n\t"
      "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\t"
      "tilezero %%tmm3\n\ttilezero %%tmm4\n\ttilezero %%tmm5"
      :
      : "m"(shapes), "r"(operand), "r"(stride)
      : "memory");
}
// Tiles that are not released make every switch of threads save 8 KiB.
void end() { __asm__ volatile("tilerelease" ::: "memory"); }

void bfloat16Tiles(int64_t turns) {
  begin(0x3e);  // 0x3e3e: 0.186
  for (int64_t turn = 0; turn < turns; ++turn) RESNET_TILE_PRODUCTS("tdpbf16ps");
  end();
}

void int8Tiles(int64_t turns) {
  begin(1);
  for (int64_t turn = 0; turn < turns; ++turn) RESNET_TILE_PRODUCTS("tdpbssd");
  end();
}
#undef RESNET_TILE_PRODUCTS

// Linux gives a process the memory for tiles when it asks, and kills one that has not.
bool grantedTiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

void appendAmxLoops(std::vector<LimitLoop>& loops) {
  const TileUnits host = hostTileUnits();
  if ((!host.bfloat16 && !host.int8) || !grantedTiles()) return;
  // Multiply-adds of a product: 16 rows by 16 columns, over what a row of 64 bytes holds.
  const double operations = 2.0 * kRows * 16 * kSums;
  if (host.bfloat16)
    loops.push_back(
        {"bfloat16 tile product (AMX)", "GFLOP/s bfloat16", 32 * operations, bfloat16Tiles});
  if (host.int8)
    loops.push_back({"int8 tile product (AMX)", "GOP/s int8", 64 * operations, int8Tiles});
}

}  // namespace resnet::cpu

#else

namespace resnet::cpu {
void appendAmxLoops(std::vector<LimitLoop>&) {}
}  // namespace resnet::cpu

#endif
