#include "tests/bench/workload.h"

#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace thermocline::bench {
namespace {

TEST(PermutationTest, ReachesEveryNumberOnce) {
  for (const uint64_t size : {1, 2, 3, 5, 64, 100, 1000, 4097}) {
    const Permutation permutation(size, 7);
    std::vector<bool> reached(size);
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t number = permutation(i);
      ASSERT_LT(number, size);
      ASSERT_FALSE(reached[number]);
      reached[number] = true;
    }
  }
}

TEST(PermutationTest, DependsOnTheSeed) {
  int same = 0;
  for (uint64_t i = 0; i < 1000; ++i) same += Permutation(1000, 1)(i) == Permutation(1000, 2)(i);
  EXPECT_LT(same, 20);
}

TEST(WorkloadTest, KeysOfEightBytesAreAllDifferent) {
  const Workload workload({.key_bytes = 8});
  std::set<std::string> keys;
  for (uint64_t i = 0; i < 20'000; ++i) keys.emplace(workload.KeyAt(i).view());
  EXPECT_EQ(keys.size(), 20'000u);
  EXPECT_EQ(keys.begin()->size(), 8u);
  EXPECT_EQ(workload.DistinctKeys(20'000), 20'000);
}

TEST(WorkloadTest, KeysOfFourBytesCollideAsExpected) {
  const Workload workload({.key_bytes = 4});
  std::set<std::string> keys;
  for (uint64_t i = 0; i < 400'000; ++i) keys.emplace(workload.KeyAt(i).view());
  // About 18.6 of them come twice.
  EXPECT_NEAR(static_cast<double>(keys.size()), workload.DistinctKeys(400'000), 25);
  EXPECT_LT(keys.size(), 400'000u);
  EXPECT_EQ(keys.begin()->size(), 4u);
}

TEST(WorkloadTest, ValuesAreVerified) {
  const Workload workload({.min_value_bytes = 32, .max_value_bytes = 75});
  std::set<size_t> sizes;
  for (uint64_t i = 0; i < 2000; ++i) {
    const Key key = workload.KeyAt(i);
    std::string value;
    workload.ValueOf(key, static_cast<uint32_t>(i % 3), value);
    sizes.insert(value.size());
    ASSERT_EQ(value.size() + 8, workload.RecordBytes(key));
    ASSERT_EQ(workload.RevisionOf(key, value), i % 3);
    ASSERT_EQ(workload.RevisionOf(workload.KeyAt(i + 1), value), std::nullopt);
    ASSERT_EQ(workload.RevisionOf(key, value.substr(1)), std::nullopt);
    value[i % value.size()] ^= 1;
    ASSERT_EQ(workload.RevisionOf(key, value), std::nullopt);
  }
  EXPECT_EQ(sizes.size(), 44u);
  EXPECT_EQ(*sizes.begin(), 32u);
}

TEST(WorkloadTest, SaysWhatIsWrongWithARead) {
  const Workload workload({});
  const Key key = workload.KeyAt(5);
  std::string value;
  workload.ValueOf(key, 3, value);
  EXPECT_EQ(workload.CheckRead(key, value, 3), absl::OkStatus());
  EXPECT_EQ(workload.CheckRead(key, value, 2).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(workload.CheckRead(key, std::nullopt, 3).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(workload.CheckRead(key, "something else", 3).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(workload.CheckRead(key, absl::UnavailableError("closed"), 3).code(),
            absl::StatusCode::kUnavailable);
}

TEST(WorkloadTest, RandomNumbersStayBelowTheirBound) {
  RandomStream random(3);
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_LT(random.Below(7), 7u);
    sum += random.Fraction();
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.02);
}

}  // namespace
}  // namespace thermocline::bench
