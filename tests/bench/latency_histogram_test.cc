#include "tests/bench/latency_histogram.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "tests/bench/workload.h"

namespace thermocline::bench {
namespace {

using std::chrono::nanoseconds;

TEST(LatencyHistogramTest, QuantilesAreRightToTheirResolution) {
  LatencyHistogram histogram;
  RandomStream random(5);
  std::vector<int64_t> durations;
  for (int i = 0; i < 100'000; ++i) {
    durations.push_back(static_cast<int64_t>(random.Next() >> (20 + random.Below(43))));
    histogram.Add(nanoseconds(durations.back()));
  }
  std::sort(durations.begin(), durations.end());
  const auto counts = histogram.Take();
  EXPECT_EQ(counts.total(), durations.size());
  for (const double quantile : {0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const size_t rank = std::max<size_t>(1, static_cast<size_t>(quantile * 100'000)) - 1;
    const auto exact = static_cast<double>(durations[rank]);
    EXPECT_NEAR(static_cast<double>(counts.Quantile(quantile).count()), exact, exact / 64 + 1);
  }
}

TEST(LatencyHistogramTest, SmallAndExtremeDurations) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.Take().Quantile(0.5), nanoseconds(0));
  histogram.Add(nanoseconds(-5));
  EXPECT_EQ(histogram.Take().Quantile(1), nanoseconds(0));
  for (int i = 0; i < 128; ++i) {
    LatencyHistogram exact;
    exact.Add(nanoseconds(i));
    EXPECT_EQ(exact.Take().Quantile(0.5), nanoseconds(i));
  }
  histogram.Add(nanoseconds::max());
  EXPECT_GT(histogram.Take().Quantile(1), nanoseconds::max() / 64 * 63);
}

TEST(LatencyHistogramTest, SubtractsWhatWasCountedBefore) {
  LatencyHistogram histogram;
  histogram.Add(nanoseconds(1'000'000));
  const auto before = histogram.Take();
  histogram.Add(nanoseconds(100));
  const auto between = histogram.Take() - before;
  EXPECT_EQ(between.total(), 1u);
  EXPECT_EQ(between.Quantile(1), nanoseconds(100));
}

TEST(LatencyHistogramTest, CountsOfTwoAddUp) {
  LatencyHistogram one;
  LatencyHistogram other;
  one.Add(nanoseconds(10));
  other.Add(nanoseconds(20));
  const auto both = LatencyHistogram::Counts() + one.Take() + other.Take();
  EXPECT_EQ(both.total(), 2u);
  EXPECT_EQ(both.Quantile(0.5), nanoseconds(10));
  EXPECT_EQ(both.Quantile(1), nanoseconds(20));
}

TEST(LatencyHistogramTest, ThreadsAddToIt) {
  LatencyHistogram histogram;
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10'000; ++n) histogram.Add(nanoseconds(n));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(histogram.Take().total(), 40'000u);
}

}  // namespace
}  // namespace thermocline::bench
