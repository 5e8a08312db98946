#include "tests/load/key_space.h"

#include <map>
#include <set>

#include "gtest/gtest.h"

#include "tests/load/mix.h"

namespace thermocline::load {
namespace {

TEST(KeySpaceTest, ReadableIsWhatHasBeenAcknowledgedWithoutAGap) {
  KeySpace space(10);
  EXPECT_EQ(space.Begin(), 10u);
  EXPECT_EQ(space.Begin(), 11u);
  EXPECT_EQ(space.Begin(), 12u);
  EXPECT_EQ(space.readable(), 10u);
  space.End(11, true);
  EXPECT_EQ(space.readable(), 10u);
  space.End(10, true);
  EXPECT_EQ(space.readable(), 12u);
  EXPECT_TRUE(space.complete());
  space.End(12, false);
  EXPECT_EQ(space.readable(), 13u);
  EXPECT_FALSE(space.complete());
}

std::map<uint64_t, int> Drawn(const KeyChoice& choice, uint64_t readable) {
  bench::RandomStream random(5);
  std::map<uint64_t, int> counts;
  for (int i = 0; i < 100'000; ++i) ++counts[choice.Draw(random, readable)];
  return counts;
}

TEST(KeyChoiceTest, Uniform) {
  const auto counts = Drawn(KeyChoice(Popularity::kUniform, 100, 1), 500);
  EXPECT_EQ(counts.size(), 100u);
  EXPECT_EQ(counts.rbegin()->first, 99u);
  for (const auto& [number, count] : counts) EXPECT_NEAR(count, 1000, 200) << number;
}

TEST(KeyChoiceTest, ZipfianScattersWhatIsPopular) {
  const auto counts = Drawn(KeyChoice(Popularity::kZipfian, 1000, 1), 1000);
  EXPECT_LT(counts.rbegin()->first, 1000u);
  std::multimap<int, uint64_t, std::greater<>> by_count;
  for (const auto& [number, count] : counts) by_count.emplace(count, number);
  // The harmonic number of 1000 with 0.99 is about 7.7.
  EXPECT_NEAR(by_count.begin()->first, 12'900, 1'500);
  std::set<uint64_t> first_tenth;
  for (auto at = by_count.begin(); first_tenth.size() < 10; ++at) first_tenth.insert(at->second / 100);
  EXPECT_GE(first_tenth.size(), 5u);  // the popular ones lie all over
}

TEST(KeyChoiceTest, LatestFollowsTheNewest) {
  const KeyChoice choice(Popularity::kLatest, 1000, 1);
  for (const uint64_t readable : {1000u, 5000u}) {
    const auto counts = Drawn(choice, readable);
    EXPECT_EQ(counts.rbegin()->first, readable - 1);
    EXPECT_GE(counts.begin()->first, readable - 1000);
    EXPECT_GT(counts.at(readable - 1), counts.at(readable - 2));
  }
}

TEST(MixTest, SharesSumUp) {
  for (const NamedMix& known : KnownMixes()) {
    const Mix& mix = known.mix;
    EXPECT_NEAR(
        mix.reads + mix.updates + mix.inserts + mix.read_modify_writes + mix.range_reads + mix.deletes, 1,
        1e-9)
        << known.name;
    EXPECT_EQ(FindMix(known.name)->name, known.name);
  }
}

TEST(MixTest, MixedTakesAPercentage) {
  EXPECT_DOUBLE_EQ(FindMix("mixed:95")->mix.reads, 0.95);
  EXPECT_DOUBLE_EQ(FindMix("mixed:0")->mix.updates, 1);
  for (const char* const bad : {"mixed:", "mixed:101", "mixed:-1", "mixed:5x", "mixed", "", "ycsb-g"}) {
    EXPECT_EQ(FindMix(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace thermocline::load
