#include "storage/log/crew.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace thermocline::testing {
namespace {

using storage::Crew;

TEST(CrewTest, DoesEachTaskOnce) {
  for (const size_t threads : {1, 2, 5}) {
    Crew crew(threads);
    ASSERT_EQ(crew.threads(), threads);
    for (size_t count = 0; count < 40; ++count) {
      std::vector<int> done(count);  // each by one thread, and read when all are done
      crew.Run(count, [&](size_t, size_t number) { ++done[number]; });
      ASSERT_EQ(done, std::vector<int>(count, 1));
    }
  }
}

TEST(CrewTest, NoTwoThreadsAreTheSameWorker) {
  Crew crew(4);
  std::vector<int> work(crew.threads());
  std::vector<std::atomic<int>> inside(crew.threads());
  for (int round = 0; round < 200; ++round) {
    crew.Run(20, [&](size_t worker, size_t) {
      ASSERT_EQ(inside[worker].fetch_add(1), 0);
      ++work[worker];
      inside[worker].fetch_sub(1);
    });
  }
  int all = 0;
  for (const int each : work) all += each;
  EXPECT_EQ(all, 200 * 20);
}

// They have to wait for one another.
TEST(CrewTest, ThreadsWorkAtTheSameTime) {
  Crew crew(3);
  std::atomic<int> inside{0};
  crew.Run(3, [&](size_t, size_t) {
    inside.fetch_add(1);
    while (inside.load() < 3) std::this_thread::yield();
  });
  EXPECT_EQ(inside.load(), 3);
}

}  // namespace
}  // namespace thermocline::testing
