#include "server/rpc/loop.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <boost/asio/post.hpp>

namespace thermocline::server::rpc {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using Clock = Loop::Clock;

class Task final : public LoopTask {
 public:
  explicit Task(std::function<void()> act) : act_(std::move(act)) {}
  void RunOnLoop() override { act_(); }

 private:
  const std::function<void()> act_;
};

class Timer final : public LoopTimer {
 public:
  explicit Timer(std::function<void()> act) : act_(std::move(act)) {}
  void OnTime() override { act_(); }

 private:
  const std::function<void()> act_;
};

// A loop on a thread of its own.
class LoopTest : public ::testing::Test {
 protected:
  LoopTest() : thread_([this] { loop_.Run([this] { seconds_.fetch_add(1); }); }) {}
  ~LoopTest() override { End(); }

  void End() {
    if (!thread_.joinable()) return;
    loop_.LetEnd();
    thread_.join();
  }

  // Has the loop do something, and waits.
  void OnLoop(const std::function<void()>& act) {
    std::promise<void> done;
    boost::asio::post(loop_.context(), [&] {
      act();
      done.set_value();
    });
    done.get_future().wait();
  }

  HoldLimit hold_{1000};
  Loop loop_{hold_};
  std::atomic<int> seconds_ = 0;
  std::thread thread_;
};

TEST_F(LoopTest, KnowsItsThread) {
  EXPECT_EQ(Loop::Current(), nullptr);
  Loop* current = nullptr;
  OnLoop([&] { current = Loop::Current(); });
  EXPECT_EQ(current, &loop_);
}

TEST_F(LoopTest, RunsWhatManyThreadsPostInTheOrderOfEach) {
  constexpr int kThreads = 4;
  constexpr int kTasks = 5000;
  std::vector<std::vector<int>> seen(kThreads);
  std::vector<std::vector<std::unique_ptr<Task>>> tasks(kThreads);
  std::atomic<int> left = kThreads * kTasks;
  std::promise<void> done;
  for (int t = 0; t < kThreads; ++t) {
    for (int i = 0; i < kTasks; ++i) {
      tasks[t].push_back(std::make_unique<Task>([&, t, i] {
        seen[t].push_back(i);
        if (left.fetch_sub(1) == 1) done.set_value();
      }));
    }
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (const auto& task : tasks[t]) loop_.Post(*task);
    });
  }
  for (std::thread& thread : threads) thread.join();
  done.get_future().wait();
  End();
  for (int t = 0; t < kThreads; ++t) {
    ASSERT_EQ(seen[t].size(), static_cast<size_t>(kTasks));
    EXPECT_TRUE(std::is_sorted(seen[t].begin(), seen[t].end()));
  }
}

TEST_F(LoopTest, WhatATaskPostsRunsLaterAndATaskMayBePostedAgain) {
  std::vector<int> order;
  std::promise<void> done;
  int runs = 0;
  std::unique_ptr<Task> again;
  again = std::make_unique<Task>([&] {
    if (++runs == 3) return done.set_value();
    loop_.Post(*again);
    order.push_back(runs);
    order.push_back(-runs);
  });
  loop_.Post(*again);
  done.get_future().wait();
  End();
  EXPECT_THAT(order, ElementsAre(1, -1, 2, -2));
}

TEST_F(LoopTest, ATimerIsNeverEarly) {
  std::vector<std::unique_ptr<Timer>> timers;
  std::atomic<int> left = 50;
  std::atomic<int> early = 0;
  std::promise<void> done;
  OnLoop([&] {
    const auto start = Clock::now();
    for (int i = 0; i < 50; ++i) {
      const auto at = start + i * 3ms + 100us;
      timers.push_back(std::make_unique<Timer>([&, at] {
        if (Clock::now() < at) early.fetch_add(1);
        if (left.fetch_sub(1) == 1) done.set_value();
      }));
      loop_.Arm(*timers.back(), at);
    }
  });
  done.get_future().wait();
  EXPECT_EQ(early, 0);
}

// The wheel has turned more than once until then.
TEST_F(LoopTest, AFarTimerWaitsForItsTurn) {
  const auto start = Clock::now();
  std::promise<Clock::time_point> happened;
  Timer far([&] { happened.set_value(Clock::now()); });
  // Others, so that the wheel turns and passes by.
  std::vector<std::unique_ptr<Timer>> near;
  OnLoop([&] {
    loop_.Arm(far, start + 2500ms);
    for (int i = 0; i < 300; ++i) {
      near.push_back(std::make_unique<Timer>([] {}));
      loop_.Arm(*near.back(), start + i * 8ms);
    }
  });
  EXPECT_GE(happened.get_future().get(), start + 2500ms);
  End();
}

TEST_F(LoopTest, ATimeThatHasPassedComesAtOnce) {
  bool happened = false;
  std::promise<bool> judged;
  Timer past([&] { happened = true; });
  Task judge([&] { judged.set_value(happened); });
  Timer reference([&] { loop_.Post(judge); });
  OnLoop([&] {
    const auto now = Clock::now();
    loop_.Arm(reference, now + 500ms);
    loop_.Arm(past, now - 100ms);
  });
  EXPECT_TRUE(judged.get_future().get());
  OnLoop([&] { Loop::Disarm(past); });
}

TEST_F(LoopTest, WhatIsDisarmedDoesNotHappen) {
  std::atomic<int> happened = 0;
  std::vector<std::unique_ptr<Timer>> timers;
  std::promise<void> done;
  Task end([&] { done.set_value(); });
  Timer last([&] { loop_.Post(end); });
  OnLoop([&] {
    const auto at = Clock::now() + 20ms;
    for (int i = 0; i < 30; ++i) {
      timers.push_back(std::make_unique<Timer>([&] { happened.fetch_add(1); }));
      loop_.Arm(*timers.back(), at);
    }
    for (int i = 0; i < 30; i += 3) Loop::Disarm(*timers[i]);
    Loop::Disarm(*timers[0]);  // once more
    loop_.Arm(last, at + 40ms);
  });
  done.get_future().wait();
  EXPECT_EQ(happened, 20);
}

// Both are due in the same turn: whichever happens first takes the other along.
TEST_F(LoopTest, ATimerMayDisarmAnotherThatIsDueAsWell) {
  int happened = 0;
  std::promise<void> done;
  Task end([&] { done.set_value(); });
  Timer last([&] { loop_.Post(end); });
  std::vector<std::unique_ptr<Timer>> timers;
  OnLoop([&] {
    for (int i = 0; i < 10; ++i) {
      timers.push_back(std::make_unique<Timer>([&] {
        ++happened;
        for (const auto& timer : timers) Loop::Disarm(*timer);
      }));
    }
    const auto at = Clock::now() + 10ms;
    for (const auto& timer : timers) loop_.Arm(*timer, at);
    loop_.Arm(last, at + 40ms);
  });
  done.get_future().wait();
  EXPECT_EQ(happened, 1);
}

TEST_F(LoopTest, ATimerMayBeArmedAgainWhenItHappens) {
  int happened = 0;
  std::promise<void> done;
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>([&] {
    if (++happened == 5) return done.set_value();
    loop_.Arm(*timer, Clock::now() + 1ms);
  });
  OnLoop([&] { loop_.Arm(*timer, Clock::now()); });
  done.get_future().wait();
}

TEST_F(LoopTest, CallsEverySecond) {
  while (seconds_ == 0) std::this_thread::sleep_for(10ms);
  End();
  EXPECT_GE(seconds_, 1);
}

TEST_F(LoopTest, HandsOutNoMoreThanItHolds) {
  Loop::Hold first, second;
  EXPECT_TRUE(first.Resize(loop_, 600));
  EXPECT_FALSE(second.Resize(loop_, 401));
  EXPECT_TRUE(second.Resize(loop_, 400));
  EXPECT_FALSE(first.Resize(loop_, 601));
  EXPECT_TRUE(first.Resize(loop_, 100));
  EXPECT_TRUE(second.Resize(loop_, 900));
  {
    const Loop::Hold moved = std::move(second);
    EXPECT_FALSE(first.Resize(loop_, 101));
  }
  EXPECT_TRUE(first.Resize(loop_, 1000));
  first.Release();
  first.Release();
  EXPECT_TRUE(second.Resize(loop_, 1000));
}

TEST_F(LoopTest, CountsOperations) {
  OnLoop([&] {
    loop_.OperationBegan();
    loop_.OperationBegan();
    loop_.OperationEnded();
  });
  EXPECT_EQ(loop_.operations(), 1);
}

}  // namespace
}  // namespace thermocline::server::rpc
