// The pool under contention: every job runs on all its threads at once, in order, and nothing is
// lost.
#include "cpu/thread_pool.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "cpu/placement.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

using resnet::cpu::Barrier;
using resnet::cpu::Placement;
using resnet::cpu::ThreadPool;

namespace {

int passed = 0, failed = 0;

void check(bool condition, const char* what) {
  ++(condition ? passed : failed);
  if (!condition) std::printf("FAILED %s\n", what);
}

// Threads meet at a barrier many times: they can only all get through if the job got all its
// threads.
void barriersMeet(ThreadPool& pool, int threads) {
  Barrier barrier(threads);
  std::vector<long> counts(threads * 16, 0);
  pool.runAndWait(threads, [&](int t) {
    for (int i = 0; i < 2000; ++i) {
      counts[t * 16] += 1;
      barrier.wait();
      for (int other = 0; other < threads; ++other) {
        if (counts[other * 16] != i + 1) counts[t * 16] = -1000000;
      }
      barrier.wait();
    }
  });
  bool all = true;
  for (int t = 0; t < threads; ++t) all = all && counts[t * 16] == 2000;
  check(all, "every thread sees the others at every barrier");
}

// Several submitters with jobs of different widths; each job checks that its threads run together.
void manySubmitters(ThreadPool& pool) {
  std::atomic<int> ran{0};
  std::vector<std::thread> submitters;
  for (int s = 0; s < 4; ++s) {
    submitters.emplace_back([&, s] {
      for (int i = 0; i < 200; ++i) {
        const int width = 1 + (s + i) % 3;
        Barrier barrier(width);
        pool.runAndWait(width, [&](int) {
          barrier.wait();
          ran.fetch_add(1);
        });
      }
    });
  }
  for (auto& thread : submitters) thread.join();
  int expected = 0;
  for (int s = 0; s < 4; ++s) {
    for (int i = 0; i < 200; ++i) expected += 1 + (s + i) % 3;
  }
  check(ran.load() == expected, "every thread of every job ran once");
}

void denormalsAreFlushed(ThreadPool& pool) {
  volatile float tiny = 1e-39f;
  float product = 1;
  pool.runAndWait(1, [&](int) { product = tiny * 0.5f; });
#if defined(RESNET_X64) || defined(__aarch64__)
  check(product == 0, "denormals are zero in the pool's threads");
#else
  std::printf("skipped: denormal mode on this architecture\n");
#endif
}

// Two threads of a job that are put on one processor: the second moves, and may be anywhere again.
void threadsMoveApart(ThreadPool& pool) {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) {
    std::printf("skipped: threads move apart (one processor)\n");
    return;
  }
  int first = 0;
  while (!CPU_ISSET(first, &allowed)) ++first;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  Placement placement(2);
  Barrier barrier(2);
  int where[2] = {-1, -1}, alone[2] = {-1, -1};
  bool wide[2] = {false, false};
  std::atomic<int> turn{0};
  pool.runAndWait(2, [&](int thread) {
    while (turn.load() != thread) std::this_thread::yield();
    sched_setaffinity(0, sizeof one, &one);
    placement.keepApart(thread);  // thread 1 cannot: only one processor is allowed to it
    alone[thread] = placement.processor(thread);
    sched_setaffinity(0, sizeof allowed, &allowed);
    if (thread == 1) placement.keepApart(thread);
    where[thread] = placement.processor(thread);
    cpu_set_t now;
    wide[thread] = sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &allowed);
    turn.fetch_add(1);
    barrier.wait();
    placement.leave(thread);
  });
  check(alone[0] == first && alone[1] == first, "a thread with one processor stays there");
  check(where[0] == first && where[1] != first && where[1] >= 0,
        "a thread beside another of its job moves");
  check(wide[0] && wide[1], "a thread that has moved may be anywhere again");
  check(placement.processor(0) == -1 && placement.processor(1) == -1,
        "a thread that has left holds no processor");
#else
  std::printf("skipped: threads move apart (Linux only)\n");
#endif
}

void networkGivesWay(ThreadPool& pool) {
#if defined(__linux__)
  const int own = getpriority(PRIO_PROCESS, 0);
  int niceness = -100;
  pool.runAndWait(1, [&](int) { niceness = getpriority(PRIO_PROCESS, id_t(syscall(SYS_gettid))); });
  check(niceness == std::min(19, own + 1), "the network's threads give way to the event loop");
#else
  std::printf("skipped: niceness of threads (Linux only)\n");
#endif
}

}  // namespace

int main() {
  {
    auto pool = ThreadPool::acquire();
    check(pool == ThreadPool::acquire(), "one pool per process");
    check(pool->reserve(3).ok(), "three threads");
    for (int threads = 1; threads <= 3; ++threads) barriersMeet(*pool, threads);
    manySubmitters(*pool);
    denormalsAreFlushed(*pool);
    threadsMoveApart(*pool);
    networkGivesWay(*pool);
    check(ThreadPool::liveThreads() == 3, "threads are kept");
  }
  check(ThreadPool::liveThreads() == 0, "the last user joins the threads");
  check(ThreadPool::users() == 0, "no user left");
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
