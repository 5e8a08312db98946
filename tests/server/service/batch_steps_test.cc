#include "server/service/batch_steps.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermocline::server {
namespace {

using ::testing::ElementsAre;

std::vector<uint32_t> FirstN(uint32_t count) {
  std::vector<uint32_t> steps(count);
  std::iota(steps.begin(), steps.end(), 0);
  return steps;
}

TEST(BatchStepsTest, AnEmptyBatchEndsAtOnce) {
  int ended = 0;
  BatchSteps steps(
      {}, 0, [](uint32_t) { FAIL(); }, [&] { ++ended; });
  steps.Run();
  EXPECT_EQ(ended, 1);
}

TEST(BatchStepsTest, KeepsToItsWidthAndRefills) {
  std::vector<uint32_t> begun;
  bool ended = false;
  BatchSteps steps(
      FirstN(5), 2, [&](uint32_t step) { begun.push_back(step); }, [&] { ended = true; });
  steps.Run();
  EXPECT_THAT(begun, ElementsAre(0, 1));
  steps.Ended();
  EXPECT_THAT(begun, ElementsAre(0, 1, 2));
  steps.Ended();
  steps.Ended();
  EXPECT_THAT(begun, ElementsAre(0, 1, 2, 3, 4));
  steps.Ended();
  EXPECT_FALSE(ended);
  steps.Ended();
  EXPECT_TRUE(ended);
}

TEST(BatchStepsTest, BeginsWhatAnEndedStepAllows) {
  std::vector<uint32_t> begun;
  bool ended = false;
  BatchSteps steps(
      {0, 3}, 8, [&](uint32_t step) { begun.push_back(step); }, [&] { ended = true; });
  steps.Run();
  steps.Ended(1);
  EXPECT_THAT(begun, ElementsAre(0, 3, 1));
  steps.Ended();
  EXPECT_FALSE(ended);
  steps.Ended(2);
  EXPECT_FALSE(ended);
  steps.Ended();
  EXPECT_THAT(begun, ElementsAre(0, 3, 1, 2));
  EXPECT_TRUE(ended);
}

// Would overflow the stack if each step began the next one.
TEST(BatchStepsTest, ALongChainOfStepsThatEndAtOnceDoesNotRecurse) {
  constexpr uint32_t kSteps = 1'000'000;
  uint32_t begun = 0;
  bool ended = false;
  BatchSteps* self = nullptr;
  BatchSteps steps(
      {0}, 1,
      [&](uint32_t step) {
        ++begun;
        self->Ended(step + 1 < kSteps ? std::optional(step + 1) : std::nullopt);
      },
      [&] { ended = true; });
  self = &steps;
  steps.Run();
  EXPECT_EQ(begun, kSteps);
  EXPECT_TRUE(ended);
}

// Ends steps on threads of its own, some at once. Meant for the sanitizers too: the batch frees itself at its
// end.
TEST(BatchStepsTest, EndsOnceWhateverThreadsItsStepsEndOn) {
  constexpr uint32_t kSteps = 200;
  constexpr size_t kWidth = 7;
  for (int round = 0; round < 50; ++round) {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<uint32_t> to_end;
    bool over = false;
    std::atomic<int> under_way = 0;
    std::atomic<int> most = 0;
    std::atomic<int> ended = 0;
    std::unique_ptr<BatchSteps> steps;
    const auto end = [&] {
      --under_way;
      steps->Ended();
    };
    steps = std::make_unique<BatchSteps>(
        FirstN(kSteps), kWidth,
        [&](uint32_t step) {
          most = std::max<int>(most, ++under_way);
          if (step % 3 == 0) return end();
          std::lock_guard lock(mutex);
          to_end.push_back(step);
          changed.notify_one();
        },
        [&] {
          ++ended;
          // Takes the batch away under the feet of whoever still uses it.
          steps.reset();
          std::lock_guard lock(mutex);
          over = true;
          changed.notify_all();
        });
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (;;) {
          std::unique_lock lock(mutex);
          changed.wait(lock, [&] { return over || !to_end.empty(); });
          if (to_end.empty()) return;
          to_end.pop_front();
          lock.unlock();
          end();
        }
      });
    }
    steps->Run();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(ended, 1);
    EXPECT_LE(most, static_cast<int>(kWidth));
    EXPECT_EQ(under_way, 0);
  }
}

}  // namespace
}  // namespace thermocline::server
