// The queue behind images and compilations, and where their ends land: order, limits, and races for ThreadSanitizer.
#include "core/job_queue.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "check.h"
#include "core/landing.h"

using resnet::JobQueue;
using resnet::Landing;

namespace {

void pauseFor(int microseconds) {
  std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
}

// The most that ran at once.
struct Gauge {
  std::atomic<int> now{0}, most{0};
  void enter() {
    const int here = now.fetch_add(1) + 1;
    for (int seen = most.load(); seen < here && !most.compare_exchange_weak(seen, here);) {
    }
  }
  void leave() { now.fetch_sub(1); }
};

}  // namespace

TEST("a line runs its jobs in their order") {
  std::vector<int> order;  // written by one thread at a time: that is the limit
  {
    JobQueue queue;
    for (int i = 0; i < 500; ++i) queue.enqueue({1, 1}, [&order, i] { order.push_back(i); });
  }
  CHECK_EQ(order.size(), size_t{500});
  bool sorted = true;
  for (size_t i = 0; i < order.size(); ++i) sorted = sorted && order[i] == int(i);
  CHECK(sorted);
}

TEST("every line keeps its limit, and uses it") {
  constexpr int kLines = 3;
  Gauge gauges[kLines];
  std::atomic<int> done{0};
  {
    JobQueue queue;
    for (int i = 0; i < 300; ++i) {
      const int line = i % kLines;
      const bool queued = queue.enqueue({line + 1, line + 1}, [&, line] {
        gauges[line].enter();
        pauseFor(200);
        gauges[line].leave();
        done.fetch_add(1);
      });
      CHECK(queued);
    }
  }
  CHECK_EQ(done.load(), 300);
  for (int line = 0; line < kLines; ++line) CHECK_EQ(gauges[line].most.load(), line + 1);
}

TEST("a line that is busy holds up no other") {
  std::atomic<bool> open{false}, passed{false};
  JobQueue queue;
  for (int i = 0; i < 20; ++i) {
    queue.enqueue({1, 2}, [&] {
      while (!open.load()) pauseFor(50);
    });
  }
  queue.enqueue({2, 1}, [&] { passed.store(true); });
  for (int i = 0; i < 100'000 && !passed.load(); ++i) pauseFor(50);
  CHECK(passed.load());
  open.store(true);
}

TEST("closing runs what is in line, beyond the limit too, and refuses more") {
  std::atomic<int> done{0};
  JobQueue queue;
  for (int i = 0; i < 200; ++i) {
    queue.enqueue({1 + i % 2, 1}, [&] {
      pauseFor(20);
      done.fetch_add(1);
    });
  }
  queue.close();
  CHECK_EQ(done.load(), 200);
  CHECK(!queue.enqueue({1, 1}, [] {}));
  queue.close();
}

TEST("a limit may change while jobs wait") {
  Gauge gauge;
  {
    JobQueue queue;
    for (int i = 0; i < 200; ++i) {
      queue.enqueue({1, i < 100 ? 1 : 4}, [&] {
        gauge.enter();
        pauseFor(100);
        gauge.leave();
      });
    }
  }
  CHECK(gauge.most.load() >= 2);
  CHECK(gauge.most.load() <= 4);
}

// As Environment does it: the thread that begins is the one that settles, woken by those that land.
TEST("what lands is taken once, whole, and nothing is left behind") {
  struct Task {
    int value = 0;
    std::vector<int> result;  // written on one thread, read on another
  };
  Landing<Task> landing;
  std::atomic<int> wakes{0};
  JobQueue queue;
  constexpr int kTasks = 2000;
  long sum = 0;
  int taken = 0;
  const auto settle = [&](Landing<Task>::Tasks tasks) {
    for (const auto& task : tasks) {
      sum += task->result.at(0);
      ++taken;
    }
  };
  for (int i = 0; i < kTasks; ++i) {
    landing.begin();
    queue.enqueue({1 + i % 2, 3}, [&landing, &wakes, i] {
      auto task = std::make_unique<Task>();
      task->result.push_back(i);
      landing.land(std::move(task), [&wakes] {
        wakes.fetch_add(1);
        return true;
      });
    });
    if (wakes.exchange(0) > 0) settle(landing.take());
  }
  settle(landing.close());
  CHECK_EQ(taken, kTasks);
  CHECK_EQ(sum, long(kTasks) * (kTasks - 1) / 2);
}

TEST("who lands is told how many lie there untaken") {
  struct Task {};
  Landing<Task> landing;
  const auto land = [&landing] {
    landing.begin();
    return landing.land(std::make_unique<Task>(), [] { return true; });
  };
  CHECK_EQ(land(), size_t{0});
  CHECK_EQ(land(), size_t{1});
  CHECK_EQ(land(), size_t{2});
  CHECK_EQ(landing.take().size(), size_t{3});
  CHECK_EQ(land(), size_t{0});
}

TEST("after closing nobody is woken") {
  struct Task {};
  Landing<Task> landing;
  std::atomic<int> wakes{0};
  landing.begin();
  std::thread late([&] {
    pauseFor(2000);
    landing.land(std::make_unique<Task>(), [&wakes] {
      wakes.fetch_add(1);
      return true;
    });
  });
  const auto tasks = landing.close();
  late.join();
  CHECK_EQ(tasks.size(), size_t{1});
  CHECK(wakes.load() <= 1);  // 0 unless it landed before the closing began
}

int main(int argc, char** argv) { return resnet::test::runCases(argc, argv); }
