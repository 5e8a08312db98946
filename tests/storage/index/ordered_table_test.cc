// What HashIndex does not show of its tables: how growth goes on.

#include "storage/index/ordered_table.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "storage/index/frames.h"
#include "storage/system_clock.h"

namespace thermocline::testing {
namespace {

using storage::Frames;
using storage::MemoryBudget;
using storage::OrderedTable;
using storage::Slot;
using ::testing::Contains;

// A write moves 64 slots and passes 512 empty words, and a little more to end between two slots; the last of
// a stretch also what the spread of 512 leaves no room for: the first 8 * (512 + what slots are displaced).
constexpr uint64_t kMostWords = 8 * 700 + 1000;

class OrderedTableTest : public ::testing::Test {
 protected:
  void Insert(uint64_t hash) {
    ++position_;
    Grow();
    table_.Insert(hash, {.position = position_, .unresolved = hash % 16 == 0});
    model_[hash] = position_;
  }

  void Erase(uint64_t hash) {
    const auto found = model_.find(hash);
    ASSERT_TRUE(table_.Erase(hash, found->second));
    model_.erase(found);
  }

  // Reserves, and says what it cost.
  uint64_t Grow() {
    const uint64_t before = table_.moved_words();
    EXPECT_TRUE(table_.Reserve(position_));
    const uint64_t moved = table_.moved_words() - before;
    most_ = std::max(most_, moved);
    return moved;
  }

  // Inserts until a stretch of a table of so many slots has just begun.
  void InsertUntilStretch(uint64_t slots) {
    while (table_.count() < slots) Insert(random_.Next());
    while (Grow() > 0) {
    }
    do {
      Insert(random_.Next());
    } while (Grow() == 0);
  }

  void CheckAll() {
    ASSERT_EQ(table_.count(), model_.size());
    for (const auto& [hash, position] : model_) {
      ASSERT_THAT(table_.Find(hash), Contains(Slot{.position = position, .unresolved = hash % 16 == 0}));
    }
    CheckSweep();
  }

  void CheckSweep() {
    std::set<uint64_t> found;
    std::optional<uint64_t> at = 0;
    while (at) {
      const OrderedTable::Sweep sweep = table_.SweepUnresolved(*at);
      ASSERT_TRUE(!sweep.next || *sweep.next > *at);
      if (sweep.unresolved) found.insert(*sweep.unresolved);
      at = sweep.next;
    }
    for (const auto& [hash, position] : model_) {
      if (hash % 16 != 0) continue;
      const auto next = found.upper_bound(hash);
      ASSERT_NE(next, found.begin());
      ASSERT_TRUE(table_.SameTag(hash, *std::prev(next)));
    }
  }

  MemoryBudget budget_{256 << 20};
  Frames frames_{budget_};
  OrderedTable table_{frames_, 0};
  storage::SeededRandom random_{1};
  std::unordered_map<uint64_t, uint64_t> model_;
  uint64_t position_ = uint64_t{1} << 24;  // as far as it comes, tables need not be widened
  uint64_t most_ = 0;
};

TEST_F(OrderedTableTest, NoWriteMovesMuchHoweverLargeTheTable) {
  while (table_.count() < 2'000'000) Insert(random_.Next());
  EXPECT_LE(most_, kMostWords);
  EXPECT_GT(table_.moved_words(), 4'000'000u);  // it did grow
  CheckAll();
}

TEST_F(OrderedTableTest, NoWriteMovesMuchWhenAStretchMeetsHardlyAnySlot) {
  for (const uint64_t slots : {50'000, 200'000, 600'000}) {
    InsertUntilStretch(slots);
    std::vector<uint64_t> hashes;
    for (const auto& [hash, position] : model_) hashes.push_back(hash);
    for (size_t i = 0; i < hashes.size(); ++i) {
      if (i % 1000 != 0) Erase(hashes[i]);
    }
    uint64_t writes = 0;
    for (; Grow() > 0; ++writes) {
      if (writes % 16 == 0) CheckAll();
      Insert(random_.Next());
      ASSERT_LE(writes, slots / 300);
    }
    EXPECT_GT(writes, slots / 2000);
    EXPECT_LE(most_, kMostWords);
    CheckAll();
  }
}

// New slots of the old layout, as near as can be to what has moved.
TEST_F(OrderedTableTest, SlotsComeWhereAStretchIsJustNow) {
  InsertUntilStretch(100'000);
  uint64_t split = ~uint64_t{0};
  for (uint64_t moved = 1; moved > 0;) {
    for (int i = 0; i < 4; ++i) Insert(split - random_.Next() % (split >> 10));
    moved = Grow();
    split -= split / 1500;
    if (moved % 8 == 0) CheckSweep();
  }
  CheckAll();
}

// Runs of slots over many small frames.
TEST_F(OrderedTableTest, SurvivesHashesThatCrowd) {
  for (const uint64_t prefix : {0, 1234, 4095}) {
    std::vector<uint64_t> hashes;
    for (int i = 0; i < 6'000; ++i) {
      hashes.push_back(prefix << 52 | random_.Next() >> 12);
      Insert(hashes.back());
      if (i % 3 == 0) {
        const size_t gone = random_.Next() % hashes.size();
        Erase(hashes[gone]);
        hashes.erase(hashes.begin() + static_cast<ptrdiff_t>(gone));
      }
      if (i % 1000 == 0) CheckAll();
    }
    CheckAll();
  }
}

TEST_F(OrderedTableTest, ASweepMeetsEverythingAtEachStageOfAStretch) {
  InsertUntilStretch(60'000);
  for (int i = 0; Grow() > 0; ++i) {
    if (i % 20 == 0) CheckSweep();
    const uint64_t hash = random_.Next();
    Insert(hash);
    if (i % 3 == 0) Erase(hash);
  }
  CheckAll();
}

}  // namespace
}  // namespace thermocline::testing
