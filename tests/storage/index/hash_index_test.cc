#include "storage/index/hash_index.h"

#include <map>
#include <unordered_map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "storage/system_clock.h"

namespace thermocline::testing {
namespace {

using storage::HashIndex;
using storage::MemoryBudget;
using storage::Slot;
using ::testing::Contains;

uint64_t IndexBytes(const MemoryBudget& budget) { return budget.used(MemoryBudget::Share::kIndex); }

// Random inserts, replaces and erases, with hashes of `bits` random bits, against a multimap.
void RunModel(uint64_t seed, int bits, int operations) {
  storage::SeededRandom random(seed);
  MemoryBudget budget(64 << 20);
  HashIndex index(budget, 3);
  std::multimap<uint64_t, Slot> model;
  std::vector<uint64_t> hashes;
  uint64_t position = 4096;
  for (int i = 0; i < operations; ++i) {
    const bool known = !hashes.empty() && random.Next() % 2 == 0;
    const uint64_t hash = known ? hashes[random.Next() % hashes.size()] : random.Next() << (64 - bits);
    position += 1 + random.Next() % 5000;
    const Slot slot = {position, random.Next() % 2 == 0, random.Next() % 2 == 0};
    HashIndex::Latch latch(index, hash);
    const auto range = model.equal_range(hash);
    const auto found = latch.Find();
    for (auto it = range.first; it != range.second; ++it) ASSERT_THAT(found, Contains(it->second));
    ASSERT_TRUE(latch.Reserve(position));
    if (range.first == range.second || random.Next() % 4 == 0) {
      latch.Insert(slot);
      model.emplace(hash, slot);
      hashes.push_back(hash);
    } else if (random.Next() % 3 == 0) {
      latch.Erase(range.first->second.position);
      model.erase(range.first);
    } else {
      latch.Replace(range.first->second.position, slot);
      range.first->second = slot;
    }
  }
  ASSERT_EQ(index.slots(), model.size());
  for (const auto& [hash, slot] : model) {
    HashIndex::Latch latch(index, hash);
    ASSERT_THAT(latch.Find(), Contains(slot));
  }
}

TEST(HashIndexTest, FindsWhatWasInserted) { RunModel(1, 64, 200'000); }
TEST(HashIndexTest, SurvivesHashesThatCollide) { RunModel(2, 9, 20'000); }
TEST(HashIndexTest, SurvivesHashesThatDifferInFewBits) { RunModel(3, 14, 50'000); }

TEST(HashIndexTest, TakesAtMostTenBytesAKeyAndFindsFewStrangers) {
  constexpr uint64_t kKeys = 1'000'000;
  MemoryBudget budget(64 << 20);
  HashIndex index(budget, 4);
  storage::SeededRandom random(4);
  double bytes_per_key = 0;
  int samples = 0;
  for (uint64_t i = 1; i <= kKeys; ++i) {
    const uint64_t hash = random.Next();
    HashIndex::Latch latch(index, hash);
    ASSERT_TRUE(latch.Reserve(i * 80 + 4096));
    latch.Insert({.position = i * 80 + 4096});
    if (i % 50'000 != 0) continue;
    bytes_per_key += static_cast<double>(IndexBytes(budget)) / static_cast<double>(i);
    ++samples;
  }
  EXPECT_LE(bytes_per_key / samples, 10.0);
  RecordProperty("bytes_per_key", std::to_string(bytes_per_key / samples));

  size_t strangers = 0;
  for (uint64_t i = 0; i < kKeys; ++i) {
    const uint64_t hash = random.Next();
    strangers += HashIndex::Latch(index, hash).Find().size();
  }
  EXPECT_LE(strangers, kKeys / 1000);
}

TEST(HashIndexTest, PositionsMayGrowBeyondWhatATableWasMadeFor) {
  MemoryBudget budget(64 << 20);
  HashIndex index(budget, 0);
  std::unordered_map<uint64_t, uint64_t> model;
  storage::SeededRandom random(5);
  for (int width = 13; width <= 50; ++width) {
    for (int i = 0; i < 200; ++i) {
      const uint64_t hash = random.Next();
      const uint64_t position = (uint64_t{1} << width) + random.Next() % 1000;
      HashIndex::Latch latch(index, hash);
      ASSERT_TRUE(latch.Reserve(position));
      latch.Insert({.position = position});
      model[hash] = position;
    }
  }
  for (const auto& [hash, position] : model) {
    EXPECT_THAT(HashIndex::Latch(index, hash).Find(), Contains(Slot{.position = position}));
  }
}

TEST(HashIndexTest, KeepsWithinTheBudgetAndGivesEverythingBack) {
  MemoryBudget budget(1 << 20);
  {
    HashIndex index(budget, 4);
    storage::SeededRandom random(6);
    uint64_t keys = 0;
    for (bool room = true; room; ++keys) {
      const uint64_t hash = random.Next();
      HashIndex::Latch latch(index, hash);
      room = latch.Reserve(keys + 1);
      if (room) latch.Insert({.position = keys + 1});
      ASSERT_LE(IndexBytes(budget), budget.limit());
    }
    EXPECT_GT(keys, 90'000u);
  }
  EXPECT_EQ(IndexBytes(budget), 0u);
}

}  // namespace
}  // namespace thermocline::testing
