#include "storage/cache/position_table.h"

#include <random>
#include <unordered_map>
#include <vector>

#include "gtest/gtest.h"

namespace thermocline::testing {
namespace {

using storage::CacheEntry;
using storage::HashOfPosition;
using storage::MemoryBudget;
using storage::PositionTable;

TEST(CacheEntryTest, HoldsItsParts) {
  const uint64_t hash = HashOfPosition(123'456'789);
  const CacheEntry entry(hash, CacheEntry::kMaxSegments, (1 << 20) - 4, 2);
  EXPECT_EQ(entry.segment(), CacheEntry::kMaxSegments);
  EXPECT_EQ(entry.offset(), (1u << 20) - 4);
  EXPECT_EQ(entry.uses(), 2u);
  EXPECT_TRUE(entry.HasTagOf(hash));
  EXPECT_FALSE(entry.HasTagOf(hash ^ 1));
  const CacheEntry used = entry.WithUses(3);
  EXPECT_EQ(used.uses(), 3u);
  EXPECT_TRUE(used.SamePlace(entry));
  EXPECT_FALSE(CacheEntry(hash, 1, 8, 0).SamePlace(CacheEntry(hash, 1, 12, 0)));
}

// Entries whose place tells their position, as segments do in the cache.
class PositionTableTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kSlots = 1 << 18;
  static CacheEntry EntryFor(uint64_t position, uint32_t number) {
    return CacheEntry(HashOfPosition(position), 1 + number / kSlots, number % kSlots * 4, 0);
  }
  uint64_t PositionOf(CacheEntry entry) const {
    return positions[(entry.segment() - 1) * kSlots + entry.offset() / 4];
  }
  bool Insert(PositionTable& table, uint64_t position) {
    positions.push_back(position);
    const CacheEntry entry = EntryFor(position, static_cast<uint32_t>(positions.size() - 1));
    return table.Insert(HashOfPosition(position), entry,
                        [this](CacheEntry each) { return HashOfPosition(PositionOf(each)); });
  }
  CacheEntry Find(const PositionTable& table, uint64_t position) const {
    const auto* word =
        table.Find(HashOfPosition(position), [&](CacheEntry entry) { return PositionOf(entry) == position; });
    return word == nullptr ? CacheEntry() : CacheEntry(word->load());
  }
  CacheEntry Erase(PositionTable& table, uint64_t position, CacheEntry entry) {
    return table.Erase(HashOfPosition(position), entry,
                       [this](CacheEntry each) { return HashOfPosition(PositionOf(each)); });
  }

  std::vector<uint64_t> positions;
};

TEST_F(PositionTableTest, BehavesLikeAMap) {
  MemoryBudget budget(64 << 20);
  {
    PositionTable table(budget, 1 << 20);
    std::mt19937_64 random(1);
    std::unordered_map<uint64_t, CacheEntry> model;
    for (int step = 0; step < 200'000; ++step) {
      const uint64_t position = random() % 20'000 * 264 + 4096;
      const auto known = model.find(position);
      const CacheEntry found = Find(table, position);
      ASSERT_EQ(static_cast<bool>(found), known != model.end());
      if (known == model.end()) {
        ASSERT_TRUE(Insert(table, position));
        model[position] = EntryFor(position, static_cast<uint32_t>(positions.size() - 1));
      } else {
        ASSERT_EQ(found.word(), known->second.word());
        // Waves, so that the tables grow and shrink.
        if (step / 30'000 % 2 == 0 && random() % 4 != 0) continue;
        ASSERT_EQ(Erase(table, position, known->second).word(), known->second.word());
        model.erase(known);
      }
      ASSERT_EQ(table.entries(), model.size());
      if (step % 1000 == 0) table.FreeRetired();
    }
  }
  EXPECT_EQ(budget.used(MemoryBudget::Share::kCache), 0u);
}

TEST_F(PositionTableTest, TakesFewBytesAnEntry) {
  MemoryBudget budget(64 << 20);
  PositionTable table(budget, 64 << 20);
  double sum = 0;
  int samples = 0;
  for (uint64_t i = 1; i <= 400'000; ++i) {
    ASSERT_TRUE(Insert(table, i * 300));
    if (i < 200'000 || i % 1000 != 0) continue;
    table.FreeRetired();
    sum += static_cast<double>(budget.used(MemoryBudget::Share::kCache)) / static_cast<double>(i);
    ++samples;
  }
  EXPECT_LT(sum / samples, 9.5);
}

TEST_F(PositionTableTest, RefusesWhatThereIsNoMemoryFor) {
  MemoryBudget budget(16 << 10);
  PositionTable table(budget, 64 << 10);
  uint64_t inserted = 0;
  for (uint64_t i = 1; i <= 10'000; ++i) {
    inserted += Insert(table, i * 300) ? 1 : 0;
    table.FreeRetired();
  }
  EXPECT_GT(inserted, 500u);
  EXPECT_LT(inserted, 2100u);
  EXPECT_EQ(table.entries(), inserted);
}

}  // namespace
}  // namespace thermocline::testing
