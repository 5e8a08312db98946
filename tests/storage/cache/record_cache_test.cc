#include "storage/cache/record_cache.h"

#include <map>
#include <random>
#include <string>

#include "gtest/gtest.h"

namespace thermocline::testing {
namespace {

using storage::MemoryBudget;
using storage::Position;
using storage::Record;
using storage::RecordCache;
using storage::Use;

constexpr uint64_t kMemory = 4 << 20;

class RecordCacheTest : public ::testing::Test {
 protected:
  uint64_t Used() const { return budget.used(MemoryBudget::Share::kCache); }

  // A record that its position tells.
  static std::string KeyAt(Position position) { return "key" + std::to_string(position); }
  static std::string ValueAt(Position position) {
    return std::string(20 + position * 7 % 200, static_cast<char>('a' + position % 26));
  }
  static Record RecordAt(Position position, const std::string& key, const std::string& value) {
    return {.key = key,
            .value = value,
            .version = position * 3,
            .expires_at_ms = position % 5 == 0 ? position : 0,
            .displaced = position % 3 == 0 ? position - 1 : 0,
            .unresolved = position % 6 == 0};
  }
  bool Insert(Position position, uint32_t uses = 0) {
    const std::string key = KeyAt(position);
    const std::string value = ValueAt(position);
    return cache.Insert(position, RecordAt(position, key, value), uses);
  }
  bool Offer(Position position) {
    const std::string key = KeyAt(position);
    const std::string value = ValueAt(position);
    return cache.Offer(position, RecordAt(position, key, value));
  }
  bool Has(Position position, Use use = Use::kIgnore) {
    const auto found = cache.Find(position, use);
    if (!found) return false;
    const std::string key = KeyAt(position);
    const std::string value = ValueAt(position);
    const Record expected = RecordAt(position, key, value);
    EXPECT_EQ(found->record.key, key);
    EXPECT_EQ(found->record.value, value);
    EXPECT_EQ(found->record.version, expected.version);
    EXPECT_EQ(found->record.expires_at_ms, expected.expires_at_ms);
    EXPECT_EQ(found->record.displaced, expected.displaced);
    EXPECT_EQ(found->record.unresolved, expected.unresolved);
    return true;
  }
  // Inserts others until everything has been at the old end once.
  void TurnOnce() {
    for (uint64_t bytes = 0; bytes < kMemory; bytes += 130) Insert(next_ += 10);
  }

  MemoryBudget budget{kMemory};
  uint64_t reserve = 64 << 10;
  int waits = 0;
  RecordCache cache{{.budget = budget,
                     .may_grow = [this](uint64_t bytes) { return budget.available() >= reserve + bytes; },
                     .wait_for_latches = [this] { ++waits; }}};

 private:
  Position next_ = 1'000'000'000;
};

TEST_F(RecordCacheTest, FindsWhatWasPutIn) {
  EXPECT_FALSE(Has(4096));
  for (Position position = 4096; position < 8000; ++position) ASSERT_TRUE(Insert(position));
  for (Position position = 4096; position < 8000; ++position) ASSERT_TRUE(Has(position));
  EXPECT_FALSE(Has(8000));
  EXPECT_EQ(cache.records(), 8000u - 4096);
  EXPECT_GT(Used(), 3904u * 100);
}

TEST_F(RecordCacheTest, NeverTakesMoreThanItMayAndKeepsTheNewest) {
  Position last = 0;
  for (Position position = 4096; position < 104'096; ++position) {
    ASSERT_TRUE(Insert(last = position));
    ASSERT_GE(budget.available(), reserve / 4);
  }
  EXPECT_TRUE(Has(last));
  EXPECT_FALSE(Has(4096));
  EXPECT_GT(waits, 0);
  // Most of the memory is records.
  EXPECT_GT(cache.records() * 130, kMemory * 3 / 4);
}

TEST_F(RecordCacheTest, WhatIsUsedHasASecondChance) {
  for (Position position = 4096; position < 5096; ++position) ASSERT_TRUE(Insert(position));
  for (Position position = 4096; position < 5096; position += 2) ASSERT_TRUE(Has(position, Use::kCount));
  TurnOnce();
  for (Position position = 4096; position < 5096; ++position) ASSERT_EQ(Has(position), position % 2 == 0);
  // Nobody has used them since.
  TurnOnce();
  for (Position position = 4096; position < 5096; ++position) ASSERT_FALSE(Has(position));
}

TEST_F(RecordCacheTest, UsesCountUpToThree) {
  ASSERT_TRUE(Insert(4096));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(Has(4096, Use::kCount));
  for (int i = 0; i < 3; ++i) {
    TurnOnce();
    ASSERT_TRUE(Has(4096)) << i;
  }
  TurnOnce();
  TurnOnce();
  EXPECT_FALSE(Has(4096));
}

TEST_F(RecordCacheTest, WhatIsCooledGoesAtItsTurn) {
  ASSERT_TRUE(Insert(4096, 3));
  ASSERT_TRUE(Insert(4097, 3));
  cache.Cool(4096);
  TurnOnce();
  EXPECT_FALSE(Has(4096));
  EXPECT_TRUE(Has(4097));
}

// Even if everything is used all the time, new records come in, and none costs more than its share of work.
TEST_F(RecordCacheTest, GoesOnWhenEverythingIsHot) {
  for (Position position = 4096; position < 60'000; ++position) ASSERT_TRUE(Insert(position, 3));
  const int before = waits;
  for (Position position = 60'000; position < 70'000; ++position) {
    ASSERT_TRUE(Insert(position, 3));
    ASSERT_TRUE(Has(position));
  }
  EXPECT_LT(waits - before, 10'000 * 160 / (64 << 10) * 10);
}

TEST_F(RecordCacheTest, AScanDoesNotGetIn) {
  for (Position position = 4096; position < 60'000; ++position) ASSERT_TRUE(Insert(position));
  const uint64_t records = cache.records();
  const Position newest = 59'999;
  uint64_t let_in = 0;
  for (Position position = 100'000; position < 200'000; ++position) let_in += Offer(position) ? 1 : 0;
  EXPECT_LT(let_in, 500u);
  EXPECT_TRUE(Has(newest));
  EXPECT_GE(cache.records() + 2000, records);
  EXPECT_FALSE(Offer(4'000'000));
  EXPECT_TRUE(Offer(4'000'000));
  EXPECT_TRUE(Has(4'000'000));
}

TEST_F(RecordCacheTest, WhatMovesKeepsItsUses) {
  ASSERT_TRUE(Insert(4096, 2));
  const std::string key = KeyAt(9000);
  const std::string value = ValueAt(9000);
  cache.Move(4096, 9000, RecordAt(9000, key, value));
  cache.Move(5000, 9001, RecordAt(9001, key, value));
  EXPECT_TRUE(Has(9000));
  EXPECT_FALSE(Has(9001));
  TurnOnce();
  EXPECT_TRUE(Has(9000));
  EXPECT_FALSE(Has(4096));
}

TEST_F(RecordCacheTest, GivesMemoryBack) {
  for (Position position = 4096; position < 60'000; ++position) ASSERT_TRUE(Insert(position));
  const uint64_t before = Used();
  EXPECT_GE(cache.Shrink(1 << 20), 1u << 20);
  EXPECT_LE(Used() + (1 << 20), before);
  EXPECT_TRUE(Has(59'999));
  EXPECT_GT(cache.Shrink(UINT64_MAX), 0u);
  EXPECT_EQ(cache.records(), 0u);
  EXPECT_EQ(cache.Shrink(1), 0u);
  EXPECT_LT(Used(), 64u << 10);
  EXPECT_FALSE(Has(59'999));
  ASSERT_TRUE(Insert(70'000));
  EXPECT_TRUE(Has(70'000));
}

TEST_F(RecordCacheTest, PinnedMemoryStays) {
  ASSERT_TRUE(Insert(4096));
  const auto found = cache.Find(4096, Use::kIgnore);
  const auto pin = cache.Pin(4096, cache.Find(4096, Use::kIgnore)->record.value);
  ASSERT_NE(pin, nullptr);
  TurnOnce();
  TurnOnce();
  EXPECT_FALSE(Has(4096));
  EXPECT_EQ(found->record.value, ValueAt(4096));
  EXPECT_EQ(cache.Pin(4096, "elsewhere"), nullptr);
}

TEST_F(RecordCacheTest, LargeRecordsHaveSegmentsOfTheirOwn) {
  const std::string large(40'000, 'L');
  const std::string too_large(200'000, 'X');
  EXPECT_FALSE(cache.Insert(3000, {.key = "x", .value = too_large, .version = 1}, 0));
  for (Position position = 1; position <= 20; ++position)
    ASSERT_TRUE(
        cache.Insert(position, {.key = "x", .value = large, .version = 1}, position % 2 == 0 ? 3 : 0));
  for (Position position = 1; position <= 20; ++position) {
    const auto found = cache.Find(position, Use::kIgnore);
    ASSERT_TRUE(found.has_value());
    ASSERT_EQ(found->record.value, large);
  }
  TurnOnce();
  for (Position position = 1; position <= 20; ++position)
    ASSERT_EQ(cache.Find(position, Use::kIgnore).has_value(), position % 2 == 0);
  for (int i = 0; i < 6; ++i) TurnOnce();
  for (Position position = 1; position <= 20; ++position)
    ASSERT_FALSE(cache.Find(position, Use::kIgnore).has_value());
  // Nothing is lost on the way.
  cache.Shrink(UINT64_MAX);
  EXPECT_LT(Used(), 64u << 10);
}

// Whatever happens, what is found is right, and the budget holds.
TEST_F(RecordCacheTest, RandomOperationsFindNothingWrong) {
  std::mt19937_64 random(7);
  uint64_t hits = 0;
  for (int step = 0; step < 300'000; ++step) {
    const Position position = 4096 + random() % 20'000;
    switch (random() % 16) {
      case 0:
        cache.Cool(position);
        break;
      case 1:
        Insert(position, random() % 4);
        break;
      case 2: {
        const Position to = 100'000 + random() % 5'000;
        const std::string key = KeyAt(to);
        const std::string value = ValueAt(to);
        cache.Move(position, to, RecordAt(to, key, value));
        break;
      }
      case 3:
        if (random() % 500 == 0) cache.Shrink(random() % kMemory);
        break;
      case 4:
        if (random() % 500 == 0) reserve = (64 << 10) + random() % (kMemory / 2);
        break;
      case 5:
        hits += Has(100'000 + random() % 5'000, Use::kCount) ? 1 : 0;
        break;
      case 6:
      case 7:
      case 8:
        Offer(position);
        break;
      default:
        hits += Has(position, Use::kCount) ? 1 : 0;
    }
    ASSERT_LE(Used(), kMemory);
  }
  EXPECT_GT(hits, 5000u);
}

}  // namespace
}  // namespace thermocline::testing
