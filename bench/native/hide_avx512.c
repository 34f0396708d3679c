// Makes a processor with AVX-512 tell the programs of one process that it has AVX2 and nothing better, so that what they do on
// such processors can be measured here. For all libraries alike, our own and peers': nobody asks but by CPUID.
//   cc -O2 -shared -fPIC -o hide_avx512.so bench/native/hide_avx512.c -ldl
//   LD_PRELOAD=$PWD/hide_avx512.so npm run bench:pipeline
//
// Linux can make the instruction CPUID fault (arch_prctl(2), ARCH_SET_CPUID; not every virtual machine lets it). The handler
// executes it, clears the bits of AVX-512, AMX and AVX-VNNI, and goes on behind it. What the C library chose before this
// library was loaded, its memcpy for one, stays; what is left of the processor, as its width and caches, is no older one's.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { kSetCpuid = 0x1012 };

typedef int (*Sigaction)(int, const struct sigaction*, struct sigaction*);

static struct sigaction others;  // what the program wants to be told of

static Sigaction installed(void) {
  static Sigaction found;
  if (found == NULL) found = (Sigaction)dlsym(RTLD_NEXT, "sigaction");
  return found;
}

// Of this thread, and those that it starts.
static int allowCpuid(unsigned long allowed) { return (int)syscall(SYS_arch_prctl, kSetCpuid, allowed); }

static uint32_t without(uint32_t word, const int* bits, size_t count) {
  for (size_t i = 0; i < count; ++i) word &= ~(UINT32_C(1) << bits[i]);
  return word;
}
#define WITHOUT(word, ...) \
  without(word, (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

// At the instruction 0f a2.
static void answer(greg_t* registers) {
  const uint32_t leaf = (uint32_t)registers[REG_RAX], subleaf = (uint32_t)registers[REG_RCX];
  uint32_t a, b, c, d;
  allowCpuid(1);
  __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(subleaf));
  allowCpuid(0);
  if (leaf == 7 && subleaf == 0) {
    b = WITHOUT(b, 16, 17, 21, 26, 27, 28, 30, 31);  // AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL
    c = WITHOUT(c, 1, 6, 11, 12, 14);                // VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ
    d = WITHOUT(d, 2, 3, 8, 22, 23, 24, 25);         // 4VNNIW, 4FMAPS, VP2INTERSECT, AMX and FP16
  }
  if (leaf == 7 && subleaf == 1) a = WITHOUT(a, 4, 5);  // AVX-VNNI, AVX-512 BF16
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

static void onFault(int number, siginfo_t* info, void* context) {
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  // A page that is not there cannot be looked at: such a fault has another si_code.
  const uint8_t* code = (const uint8_t*)registers[REG_RIP];
  if (info->si_code == SI_KERNEL && code[0] == 0x0f && code[1] == 0xa2) {
    answer(registers);
  } else if ((others.sa_flags & SA_SIGINFO) != 0 && others.sa_sigaction != NULL) {
    others.sa_sigaction(number, info, context);
  } else {
    const struct sigaction standard = {.sa_handler = SIG_DFL};
    installed()(SIGSEGV, &standard, NULL);
  }
}

// Node.js has a handler of its own for WebAssembly, and restores all at its start.
int sigaction(int number, const struct sigaction* wanted, struct sigaction* old) {
  if (number != SIGSEGV) return installed()(number, wanted, old);
  if (old != NULL) *old = others;
  if (wanted != NULL) others = *wanted;
  return 0;
}

__attribute__((constructor)) static void begin(void) {
  struct sigaction ours;
  memset(&ours, 0, sizeof ours);
  ours.sa_sigaction = onFault;
  ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  if (installed()(SIGSEGV, &ours, &others) == 0 && allowCpuid(0) == 0) return;
  // Measured as what it is not, a processor would be described wrongly.
  perror("hide_avx512: this system does not let CPUID fault");
  _exit(1);
}
