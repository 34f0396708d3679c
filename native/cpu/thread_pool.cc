#include "cpu/thread_pool.h"

#include <cstdio>
#include <fstream>
#include <sstream>
#include <system_error>

#include "core/scheduling.h"

#if defined(RESNET_X64)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

namespace resnet::cpu {
namespace {

std::mutex poolMutex;
std::weak_ptr<ThreadPool> processPool;
std::atomic<int> liveThreadCount{0};

void relaxCore() {
#if defined(RESNET_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void flushDenormals() {
#if defined(RESNET_X64)
  _mm_setcsr(_mm_getcsr() | 0x8040);  // FTZ | DAZ
#elif defined(__aarch64__)
  uint64_t fpcr;
  asm volatile("mrs %0, fpcr" : "=r"(fpcr));
  asm volatile("msr fpcr, %0" : : "r"(fpcr | (uint64_t(1) << 24)));
#endif
}

// Cores by cgroup quota, v2 then v1; 0 when there is none.
double cgroupQuota() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period)
    return quota == "max" || period <= 0 ? 0 : std::atof(quota.c_str()) / period;
  std::ifstream v1Quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
      v1Period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double us = 0;
  if (v1Quota >> us && v1Period >> period && us > 0 && period > 0) return us / period;
  return 0;
}

ThreadBudget measureBudget() {
  int cores = int(std::thread::hardware_concurrency());
  std::ostringstream from;
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
#endif
  if (cores < 1) cores = 1;
  from << "affinity " << cores;
  const double quota = cgroupQuota();
  int threads = cores;
  if (quota > 0) {
    from << ", cgroup quota " << quota;
    // A quota of 1.5 cores is one thread: a second would be throttled in the middle of a barrier.
    const int allowed = quota < 1 ? 1 : int(quota);
    if (allowed < threads) threads = allowed;
  }
  return {threads, from.str()};
}

}  // namespace

bool Barrier::wait() noexcept {
  if (threads_ == 1) return false;
  const int generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_release);
    generation_.notify_all();
    return false;
  }
  for (int spin = 0; spin < 4000; ++spin) {
    if (generation_.load(std::memory_order_acquire) != generation) return false;
    relaxCore();
  }
  while (generation_.load(std::memory_order_acquire) == generation) generation_.wait(generation);
  return true;
}

const ThreadBudget& threadBudget() {
  static const ThreadBudget budget = measureBudget();
  return budget;
}

std::shared_ptr<ThreadPool> ThreadPool::acquire() {
  std::lock_guard lock(poolMutex);
  auto pool = processPool.lock();
  if (!pool) {
    pool = std::shared_ptr<ThreadPool>(new ThreadPool);
    processPool = pool;
  }
  return pool;
}

int ThreadPool::users() {
  std::lock_guard lock(poolMutex);
  return int(processPool.use_count());
}

int ThreadPool::liveThreads() { return liveThreadCount.load(); }

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

Status ThreadPool::reserve(int threads) {
  std::lock_guard lock(mutex_);
  while (int(threads_.size()) < threads) {
    try {  // std::thread reports a refusal by throwing
      threads_.emplace_back([this] { workerLoop(); });
    } catch (const std::exception& error) {
      return Status::error(Code::kOutOfMemory, "the system refused thread " +
                                                   std::to_string(threads_.size() + 1) + " of " +
                                                   std::to_string(threads) + " (" + error.what() +
                                                   "); ask for fewer with the option 'threads'");
    }
    ++free_;
  }
  return Status::okay();
}

void ThreadPool::submit(Job* job) noexcept {
  {
    std::lock_guard lock(mutex_);
    job->started_ = 0;
    job->running_.store(job->threads, std::memory_order_relaxed);
    job->next_ = nullptr;
    if (tail_ != nullptr) {
      tail_->next_ = job;
    } else {
      head_ = job;
    }
    tail_ = job;
  }
  wake_.notify_all();
}

void ThreadPool::workerLoop() noexcept {
  flushDenormals();
  giveWay(GivesWay::kNetwork);
#if defined(__linux__)
  pthread_setname_np(pthread_self(), "resnet");
#endif
  liveThreadCount.fetch_add(1);
  std::unique_lock lock(mutex_);
  for (;;) {
    if (current_ == nullptr && head_ != nullptr && free_ >= head_->threads) {
      current_ = head_;
      head_ = head_->next_;
      if (head_ == nullptr) tail_ = nullptr;
      free_ -= current_->threads;
      if (current_->threads > 1) wake_.notify_all();
    }
    if (current_ == nullptr) {
      if (closing_) break;
      wake_.wait(lock);
      continue;
    }
    Job* job = current_;
    const int thread = job->started_++;
    if (job->started_ == job->threads) current_ = nullptr;
    lock.unlock();
    job->body(thread);
    // Release: the last one out sees what the others wrote.
    if (job->running_.fetch_sub(1, std::memory_order_acq_rel) == 1) job->finish();
    lock.lock();
    ++free_;
    if (head_ != nullptr) wake_.notify_all();
  }
  liveThreadCount.fetch_sub(1);
}

void ThreadPool::runAndWait(int threads, const std::function<void(int thread)>& body) {
  struct Waiting : Job {
    const std::function<void(int)>* work = nullptr;
    std::mutex mutex;
    std::condition_variable condition;
    bool done = false;
    void body(int thread) noexcept override { (*work)(thread); }
    void finish() noexcept override {
      // Notified under the lock: the waiter frees this object as soon as it can take it.
      std::lock_guard lock(mutex);
      done = true;
      condition.notify_one();
    }
  } job;
  job.threads = threads;
  job.work = &body;
  submit(&job);
  std::unique_lock lock(job.mutex);
  job.condition.wait(lock, [&] { return job.done; });
}

}  // namespace resnet::cpu
