#include "storage/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <pthread.h>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thermocline::storage {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

TEST(ThreadPoolTest, RunsEveryTaskOnce) {
  std::vector<std::atomic<int>> runs(10'000);
  {
    ThreadPool pool("test", 4);
    std::vector<std::thread> callers;
    for (size_t caller = 0; caller < 4; ++caller) {
      callers.emplace_back([&, caller] {
        for (size_t i = caller; i < runs.size(); i += 4) pool.Run([&runs, i] { ++runs[i]; });
      });
    }
    for (std::thread& caller : callers) caller.join();
  }
  for (const auto& count : runs) ASSERT_EQ(count, 1);
}

TEST(ThreadPoolTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    ThreadPool pool("test", 1);
    for (int i = 0; i < 1000; ++i) pool.Run([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 1000u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(ThreadPoolTest, AsManyAtOnceAsThereAreThreads) {
  ThreadPool pool("test", 3);
  std::promise<void> all_here;
  std::atomic<int> here = 0;
  const std::shared_future<void> go = all_here.get_future().share();
  std::vector<std::future<void>> done;
  for (int i = 0; i < 3; ++i) {
    auto finished = std::make_shared<std::promise<void>>();
    done.push_back(finished->get_future());
    pool.Run([&, finished] {
      if (++here == 3) all_here.set_value();
      go.wait();  // never over if the three did not run side by side
      finished->set_value();
    });
  }
  for (auto& finished : done) finished.get();
}

TEST(ThreadPoolTest, NeverInsideTheCall) {
  ThreadPool pool("test", 1);
  std::promise<std::thread::id> ran_on;
  std::mutex held_by_caller;
  {
    const std::lock_guard lock(held_by_caller);
    pool.Run([&] {
      const std::lock_guard task_lock(held_by_caller);
      ran_on.set_value(std::this_thread::get_id());
    });
  }
  EXPECT_NE(ran_on.get_future().get(), std::this_thread::get_id());
}

TEST(ThreadPoolTest, DelayedTasksRunInTheOrderOfTheirTimeAndNotBefore) {
  std::vector<int> order;
  std::promise<void> last;
  const auto start = std::chrono::steady_clock::now();
  ThreadPool pool("test", 1);
  pool.RunAfter(std::chrono::hours(1), [&] { order.push_back(0); });
  for (int i = 1; i <= 3; ++i) {
    pool.RunAfter(milliseconds(10 + i), [&, i] { order.push_back(i); });
  }
  pool.RunAfter(milliseconds(20), [&] { last.set_value(); });
  last.get_future().get();
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(20));
  EXPECT_THAT(order, ElementsAre(1, 2, 3));
}

TEST(ThreadPoolTest, ADelayedTaskDoesNotWaitForABusyThread) {
  // The thread that went to sleep first, without a timer to wait for, must still serve the one that came
  // later.
  ThreadPool pool("test", 2);
  for (int round = 0; round < 50; ++round) {
    std::promise<void> timer_ran;
    std::promise<void> blocker_done;
    pool.RunAfter(milliseconds(2), [&] { timer_ran.set_value(); });
    pool.Run([&] {
      timer_ran.get_future().wait();
      blocker_done.set_value();
    });
    blocker_done.get_future().get();
  }
}

TEST(ThreadPoolTest, DestructionRunsWhatIsQueuedAndWhatThatHandsOver) {
  std::atomic<int> runs = 0;
  {
    ThreadPool pool("test", 2);
    for (int i = 0; i < 100; ++i) {
      pool.Run([&] {
        ++runs;
        pool.Run([&] { ++runs; });
      });
    }
  }
  EXPECT_EQ(runs, 200);
}

TEST(ThreadPoolTest, DestructionDropsDelayedTasksAndWhatTheyHold) {
  auto held = std::make_shared<int>(0);
  bool ran = false;
  {
    ThreadPool pool("test", 2);
    pool.RunAfter(std::chrono::hours(1), [&ran, held] { ran = true; });
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_FALSE(ran);
  EXPECT_EQ(held.use_count(), 1);
}

TEST(ThreadPoolTest, ATaskIsGivenUpBeforeTheNextOneRuns) {
  ThreadPool pool("test", 1);
  auto held = std::make_shared<int>(0);
  const std::weak_ptr<int> watch = held;
  pool.Run([held = std::move(held)] {});
  std::promise<bool> gone;
  pool.Run([&] { gone.set_value(watch.expired()); });
  EXPECT_TRUE(gone.get_future().get());
}

TEST(ThreadPoolTest, ThreadsAreNamed) {
  for (const auto& [name, expected] :
       {std::pair<std::string, std::string>{"reads", "reads-0"}, {"a-long-thread-name", "a-long-thread-n"}}) {
    ThreadPool pool(name, 1);
    std::promise<std::string> seen;
    pool.Run([&] {
      char text[16] = {};
      pthread_getname_np(pthread_self(), text, sizeof text);
      seen.set_value(text);
    });
    EXPECT_EQ(seen.get_future().get(), expected);
  }
}

int NicenessOfThisThread() { return ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid())); }

TEST(ThreadPoolTest, ThreadsAreAsNiceAsTold) {
  const int before = NicenessOfThisThread();
  for (const int niceness : {0, 1, 19}) {
    ThreadPool pool("nice", 2, niceness);
    std::promise<void> both_here;
    std::atomic<int> here = 0;
    const std::shared_future<void> go = both_here.get_future().share();
    std::vector<std::promise<int>> seen(2);
    for (std::promise<int>& one : seen) {
      pool.Run([&] {
        if (++here == 2) both_here.set_value();
        go.wait();  // so that each thread takes one
        one.set_value(NicenessOfThisThread());
      });
    }
    // The tests themselves may run at a lower priority, which no pool raises.
    for (std::promise<int>& one : seen) EXPECT_EQ(one.get_future().get(), std::max(before, niceness));
  }
  EXPECT_EQ(NicenessOfThisThread(), before);
}

}  // namespace
}  // namespace thermocline::storage
