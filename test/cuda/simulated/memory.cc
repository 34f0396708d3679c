// Memory of the simulated devices: pages that nobody may touch but device work, NaN at first, each allocation ending at a
// page that is never mapped. Addresses are not used twice, so that a stale pointer faults.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "test/cuda/simulated/state.h"

namespace resnet::simulated {

namespace {

constexpr size_t kRegion = size_t{256} << 30;  // of addresses, not of memory
constexpr size_t kAlignment = 256;             // cudaMalloc's
constexpr uint8_t kUnwritten = 0xff;           // NaN in every float type, -1 in integers
constexpr uint8_t kRedZone = 0xa5;

uint8_t* region = nullptr;
size_t regionUsed = 0;
struct sigaction previousAction = {};

size_t roundUp(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

size_t pageBytes() {
  static const size_t bytes = size_t(sysconf(_SC_PAGESIZE));
  return bytes;
}

// Says what was touched, then lets the fault happen as it would have.
void onFault(int signal, siginfo_t* info, void* context) {
  auto* address = static_cast<uint8_t*>(info->si_addr);
  if (region != nullptr && address >= region && address < region + kRegion) {
    char text[200];
    const int length =
        std::snprintf(text, sizeof text,
                      "simulated device: %p is memory of the device, touched %s\n", info->si_addr,
                      inHostFunction ? "by a host function"
                                     : "by the host, or by device work outside every allocation");
    if (write(STDERR_FILENO, text, size_t(length)) < 0) _exit(139);
  }
  if ((previousAction.sa_flags & SA_SIGINFO) != 0 && previousAction.sa_sigaction != nullptr) {
    previousAction.sa_sigaction(signal, info, context);
    return;
  }
  sigaction(SIGSEGV, &previousAction, nullptr);  // returns to the fault
}

bool reserve() {
  if (region != nullptr) return true;
  void* address =
      mmap(nullptr, kRegion, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) return false;
  region = static_cast<uint8_t*>(address);
  struct sigaction action = {};
  action.sa_sigaction = onFault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &previousAction);
  return true;
}

const Allocation* find(const std::map<uintptr_t, Allocation>& in, const void* pointer,
                       size_t bytes) {
  auto next = in.upper_bound(uintptr_t(pointer));
  if (next == in.begin()) return nullptr;
  const Allocation& allocation = std::prev(next)->second;
  const size_t offset = size_t(static_cast<const uint8_t*>(pointer) - allocation.data);
  if (allocation.freed) return nullptr;
  return offset <= allocation.bytes && bytes <= allocation.bytes - offset ? &allocation : nullptr;
}

bool allRedZone(const uint8_t* from, const uint8_t* to) {
  return std::all_of(from, to, [](uint8_t byte) { return byte == kRedZone; });
}

void checkRedZones(const Allocation& allocation) {
  const uint8_t* end = allocation.data + allocation.bytes;
  const bool before = allRedZone(allocation.mapping, allocation.data);
  const bool after = allRedZone(end, allocation.mapping + allocation.mapped);
  if (before && after) return;
  violation("device work wrote " + std::string(before ? "past the end" : "before the beginning") +
            " of allocation " + std::to_string(allocation.number) + " of " +
            std::to_string(allocation.bytes) + " bytes");
  // Said once.
  std::memset(allocation.mapping, kRedZone, size_t(allocation.data - allocation.mapping));
  std::memset(allocation.data + allocation.bytes, kRedZone,
              size_t(allocation.mapping + allocation.mapped - end));
}

}  // namespace

cudaError_t allocateDevice(int device, size_t bytes, void** pointer) {
  State& all = state();
  Device& target = all.devices[size_t(device)];
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  const size_t charged = roundUp(bytes, kAlignment);
  if (charged < bytes || charged > all.memoryLimit || target.used > all.memoryLimit - charged)
    return cudaErrorMemoryAllocation;
  const size_t mapped = roundUp(charged, pageBytes());
  if (!reserve() || regionUsed + mapped + 2 * pageBytes() > kRegion)
    return cudaErrorMemoryAllocation;
  Allocation allocation;
  allocation.mapping = region + regionUsed + pageBytes();
  allocation.mapped = mapped;
  allocation.data = allocation.mapping + mapped - charged;
  allocation.bytes = bytes;
  allocation.charged = charged;
  allocation.device = device;
  allocation.number = ++all.allocationNumber;
  if (mprotect(allocation.mapping, mapped, PROT_READ | PROT_WRITE) != 0)
    return cudaErrorMemoryAllocation;
  regionUsed += mapped + pageBytes();
  std::memset(allocation.mapping, kRedZone, mapped);
  std::memset(allocation.data, kUnwritten, bytes);
  mprotect(allocation.mapping, mapped, PROT_NONE);
  target.used += charged;
  target.peak = std::max(target.peak, target.used);
  *pointer = allocation.data;
  target.allocations[uintptr_t(allocation.data)] = allocation;
  return cudaSuccess;
}

cudaError_t allocatePinned(size_t bytes, void** pointer) {
  State& all = state();
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  Allocation allocation;
  allocation.bytes = bytes;
  allocation.mapped = roundUp(roundUp(bytes, kAlignment), pageBytes()) + 2 * pageBytes();
  if (allocation.mapped < bytes) return cudaErrorMemoryAllocation;
  void* address = mmap(nullptr, allocation.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return cudaErrorMemoryAllocation;
  allocation.mapping = static_cast<uint8_t*>(address);
  const size_t usable = allocation.mapped - 2 * pageBytes();
  mprotect(allocation.mapping + pageBytes(), usable, PROT_READ | PROT_WRITE);
  allocation.data = allocation.mapping + pageBytes() + usable - roundUp(bytes, kAlignment);
  allocation.number = ++all.allocationNumber;
  std::memset(allocation.data, kUnwritten, bytes);
  *pointer = allocation.data;
  all.pinned[uintptr_t(allocation.data)] = allocation;
  return cudaSuccess;
}

bool releaseDevice(void* pointer) {
  for (Device& device : state().devices) {
    auto found = device.allocations.find(uintptr_t(pointer));
    if (found == device.allocations.end()) continue;
    const Allocation& allocation = found->second;
    mprotect(allocation.mapping, allocation.mapped, PROT_READ | PROT_WRITE);
    checkRedZones(allocation);
    madvise(allocation.mapping, allocation.mapped, MADV_DONTNEED);
    mprotect(allocation.mapping, allocation.mapped, PROT_NONE);
    device.used -= allocation.charged;
    device.allocations.erase(found);
    return true;
  }
  return false;
}

bool releasePinned(void* pointer) {
  auto found = state().pinned.find(uintptr_t(pointer));
  if (found == state().pinned.end()) return false;
  munmap(found->second.mapping, found->second.mapped);
  state().pinned.erase(found);
  return true;
}

const Allocation* findDevice(const void* pointer, size_t bytes) {
  for (const Device& device : state().devices)
    if (const Allocation* found = find(device.allocations, pointer, bytes)) return found;
  return nullptr;
}

const Allocation* findPinned(const void* pointer, size_t bytes) {
  return find(state().pinned, pointer, bytes);
}

bool overlapsDevice(const void* pointer, size_t bytes) {
  const auto* begin = static_cast<const uint8_t*>(pointer);
  return region != nullptr && begin < region + kRegion && begin + bytes > region;
}

void openMemory(int device) {
  for (auto& [address, allocation] : state().devices[size_t(device)].allocations)
    if (allocation.ready) mprotect(allocation.mapping, allocation.mapped, PROT_READ | PROT_WRITE);
}

void closeMemory(int device) {
  for (auto& [address, allocation] : state().devices[size_t(device)].allocations) {
    if (!allocation.ready) continue;
    checkRedZones(allocation);
    mprotect(allocation.mapping, allocation.mapped, PROT_NONE);
  }
}

void forgetMemory() {
  State& all = state();
  while (!all.pinned.empty()) releasePinned(all.pinned.begin()->second.data);
  for (Device& device : all.devices)
    while (!device.allocations.empty()) releaseDevice(device.allocations.begin()->second.data);
  if (region == nullptr) return;
  // Addresses may come again now; mapped anew, they are new to the sanitizers too.
  if (regionUsed > 0 &&
      mmap(region, regionUsed, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
           -1, 0) == MAP_FAILED)
    std::abort();
  regionUsed = 0;
}

}  // namespace resnet::simulated
