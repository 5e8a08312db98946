// What HashIndex does not show of its tables: how growth goes on.

#include "storage/index/ordered_table.h"

#include <algorithm>
#include <bit>
#include <optional>
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

// Every eighth write moves 8 times 64 slots, each time passing 512 empty words at most, and a little more to
// end between two slots; the last one of a stretch also what the spread of 512 leaves no room for: of a table
// that grows by a sixteenth the first 16 * (512 + what slots are displaced).
constexpr uint64_t kMostWords = 8 * 700 + 16 * 700 + 1000;

// The parameter: bits of positions when a stretch is looked at. The more, the less of the hashes is known.
class OrderedTableTest : public ::testing::TestWithParam<int> {
 protected:
  void Insert(uint64_t hash) {
    ++position_;
    Reserve();
    table_.Insert(hash, {.position = position_, .unresolved = hash % 16 == 0});
    model_[hash] = position_;
  }

  void Erase(uint64_t hash) {
    const auto found = model_.find(hash);
    ASSERT_TRUE(table_.Erase(hash, found->second));
    model_.erase(found);
  }

  // Goes on with a stretch as eight writes do. Returns what it cost; 0: none is under way.
  uint64_t Grow() {
    uint64_t moved = 0;
    for (int i = 0; i < 8 && moved == 0; ++i) moved = Reserve();
    return moved;
  }

  uint64_t Reserve() {
    const uint64_t before = table_.moved_words();
    EXPECT_TRUE(table_.Reserve(position_));
    const uint64_t moved = table_.moved_words() - before;
    most_ = std::max(most_, moved);
    return moved;
  }

  // Inserts until a stretch of a table of so many slots has just begun, with which positions get another bit.
  void InsertUntilStretch(uint64_t slots) {
    while (table_.count() < slots) Insert(random_.Next());
    while (Grow() > 0) {
    }
    position_ = std::max(position_, uint64_t{1} << GetParam());
    Grow();
    position_ = std::bit_ceil(position_ + 1);
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
    CheckCopy();
  }

  // All slots, each once, in order.
  void CheckCopy() {
    std::vector<OrderedTable::Entry> entries;
    for (std::optional<uint64_t> at = 0; at;) at = table_.Copy(*at, entries);
    ASSERT_EQ(entries.size(), model_.size());
    const auto by_hash = [](const auto& a, const auto& b) { return a.hash < b.hash; };
    ASSERT_TRUE(std::is_sorted(entries.begin(), entries.end(), by_hash));
    std::unordered_map<uint64_t, uint64_t> hashes;
    for (const auto& [hash, position] : model_) hashes[position] = hash;
    for (const OrderedTable::Entry& entry : entries) {
      ASSERT_TRUE(hashes.contains(entry.slot.position));
      ASSERT_EQ(entry.slot.unresolved, hashes[entry.slot.position] % 16 == 0);
      ASSERT_EQ((hashes[entry.slot.position] ^ entry.hash) >> (64 - table_.shape().known_bits), 0u);
    }
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
  uint64_t position_ = uint64_t{1} << 24;
  uint64_t most_ = 0;
};

INSTANTIATE_TEST_SUITE_P(PositionBits, OrderedTableTest, ::testing::Values(24, 49));

TEST_P(OrderedTableTest, NoWriteMovesMuchHoweverLargeTheTable) {
  while (table_.count() < 1'000'000) Insert(random_.Next());
  EXPECT_LE(most_, kMostWords);
  EXPECT_GT(table_.moved_words(), 2'000'000u);  // it did grow
  CheckAll();
}

TEST_P(OrderedTableTest, NoWriteMovesMuchWhenAStretchMeetsHardlyAnySlot) {
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
    EXPECT_GT(writes, slots / 20'000);
    EXPECT_LE(most_, kMostWords);
    CheckAll();
  }
}

// The first slots are the last to move, with few of the others left and more coming.
TEST_P(OrderedTableTest, SlotsComeWhereAStretchEnds) {
  InsertUntilStretch(60'000);
  std::vector<uint64_t> hashes;
  for (const auto& [hash, position] : model_) hashes.push_back(hash);
  for (size_t i = 0; i < hashes.size(); ++i) {
    if (i % 50 != 0) Erase(hashes[i]);
  }
  for (uint64_t moved = 1, writes = 0; moved > 0; ++writes) {
    for (int i = 0; i < 4; ++i) Insert(random_.Next() >> (2 + random_.Next() % 6));
    moved = Grow();
    if (writes % 4 == 0) CheckAll();
  }
  CheckAll();
}

// In pieces, of which each is of another stage, and with less known than the one before.
TEST_P(OrderedTableTest, ACopyMeetsEverythingOnceWhileATableStretches) {
  InsertUntilStretch(60'000);
  while (Grow() > 0) {
  }
  for (int round = 0; round < 2; ++round) {
    const auto there = model_;
    std::vector<OrderedTable::Entry> entries;
    std::optional<uint64_t> at = 0;
    for (int i = 0; i < 3 && at; ++i) at = table_.Copy(*at, entries);
    const int known = table_.shape().known_bits;
    if (round == 0) InsertUntilStretch(table_.count());
    if (round == 0 && GetParam() > 40) {
      ASSERT_LT(table_.shape().known_bits, known);
    }
    for (; at; at = table_.Copy(*at, entries)) {
      for (int i = 0; i < 50; ++i) Insert(random_.Next());
    }
    std::unordered_map<uint64_t, int> met;
    for (const OrderedTable::Entry& entry : entries) ++met[entry.slot.position];
    for (const auto& [hash, position] : there) ASSERT_EQ(met[position], 1);
  }
}

// Runs of slots over many small frames.
TEST_P(OrderedTableTest, SurvivesHashesThatCrowd) {
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

TEST_P(OrderedTableTest, ASweepMeetsEverythingAtEachStageOfAStretch) {
  InsertUntilStretch(60'000);
  for (int i = 0; Grow() > 0; ++i) {
    if (i % 20 == 0) CheckSweep();
    if (i % 20 == 10) CheckCopy();
    const uint64_t hash = random_.Next();
    Insert(hash);
    if (i % 3 == 0) Erase(hash);
  }
  CheckAll();
}

}  // namespace
}  // namespace thermocline::testing
