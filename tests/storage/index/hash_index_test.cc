#include "storage/index/hash_index.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "storage/system_clock.h"

namespace thermocline::testing {
namespace {

using storage::HashIndex;
using storage::MemoryBudget;
using storage::Slot;
using storage::Slots;
using ::testing::Contains;
using ::testing::Test;

uint64_t IndexBytes(const MemoryBudget& budget) { return budget.used(MemoryBudget::Share::kIndex); }

using Model = std::multimap<uint64_t, Slot>;

// Whatever is unresolved is found by sweeping, and a sweep comes to an end.
void CheckSweep(HashIndex& index, const Model& model) {
  std::set<uint64_t> found;
  uint64_t at = 0;
  do {
    const HashIndex::Sweep sweep = index.SweepUnresolved(at);
    ASSERT_TRUE(sweep.next == 0 || sweep.next > at);
    if (sweep.unresolved) {
      const Slots slots = HashIndex::Latch(index, *sweep.unresolved).Find();
      ASSERT_TRUE(std::any_of(slots.begin(), slots.end(), [](const Slot& slot) { return slot.unresolved; }));
      found.insert(*sweep.unresolved);
    }
    at = sweep.next;
  } while (at != 0);
  for (const auto& [hash, slot] : model) {
    if (!slot.unresolved) continue;
    const auto next = found.upper_bound(hash);
    ASSERT_NE(next, found.begin());
    ASSERT_TRUE(HashIndex::Latch(index, hash).Covers(*std::prev(next)));
  }
}

// Slots that cannot be told apart are marked, and only these.
void CheckDoubt(HashIndex& index, const Model& model) {
  std::map<uint64_t, bool> unresolved;  // by position
  for (const auto& [hash, slot] : model) unresolved[slot.position] = slot.unresolved;
  uint64_t marked = 0;
  const uint64_t told = index.DoubtGroups();
  for (const auto& [hash, slot] : model) {
    const Slots found = HashIndex::Latch(index, hash).Find();
    for (const Slot& seen : found) {
      if (seen.position != slot.position) continue;
      ASSERT_EQ(seen.unresolved, slot.unresolved || found.size() > 1);
      marked += seen.unresolved && !slot.unresolved;
    }
  }
  EXPECT_EQ(told, marked);
  EXPECT_EQ(index.DoubtGroups(), 0u);
}

// Hashes of `bits` random bits behind the first `same` ones, which are those of `prefix`.
struct Hashes {
  int bits = 64;
  int same = 0;
  uint64_t prefix = 0;

  uint64_t From(uint64_t random) const {
    return (random << (64 - bits)) >> same | prefix << (63 - same) << 1;
  }
};

// An index, and random inserts, replaces and erases of it against a model.
class Tried {
 public:
  Tried(uint64_t seed, const Hashes& hashes_of, int partition_bits, uint64_t base = 0)
      : hashes_of_(hashes_of), random_(seed), index(budget_, partition_bits, base), position(base) {}

  void Step() {
    const bool known = !hashes_.empty() && random_.Next() % 2 == 0;
    const uint64_t hash = known ? hashes_[random_.Next() % hashes_.size()] : hashes_of_.From(random_.Next());
    position += 1 + random_.Next() % 5000;
    const Slot slot = {position, random_.Next() % 8 == 0, random_.Next() % 2 == 0, random_.Next() % 2 == 0};
    HashIndex::Latch latch(index, hash);
    const auto range = model.equal_range(hash);
    const auto found = latch.Find();
    for (auto it = range.first; it != range.second; ++it) ASSERT_THAT(found, Contains(it->second));
    ASSERT_TRUE(latch.Reserve(position));
    if (range.first == range.second || random_.Next() % 4 == 0) {
      latch.Insert(slot);
      model.emplace(hash, slot);
      hashes_.push_back(hash);
    } else if (random_.Next() % 8 < erases) {
      latch.Erase(range.first->second.position);
      gone.insert(range.first->second.position);
      model.erase(range.first);
    } else {
      latch.Replace(range.first->second.position, slot);
      gone.insert(range.first->second.position);
      range.first->second = slot;
    }
  }

  void CheckAll() {
    ASSERT_EQ(index.slots(), model.size());
    for (const auto& [hash, slot] : model) {
      ASSERT_THAT(HashIndex::Latch(index, hash).Find(), Contains(slot));
    }
    CheckSweep(index, model);
  }

 private:
  const Hashes hashes_of_;
  storage::SeededRandom random_;
  MemoryBudget budget_{64 << 20};
  std::vector<uint64_t> hashes_;

 public:
  HashIndex index;
  Model model;
  std::set<uint64_t> gone;  // positions that slots had and have no more
  uint64_t position;
  uint64_t erases = 3;  // in eight times that a slot is met again
};

// Turns in which much is erased come again and again, if `ebb`.
void RunModel(uint64_t seed, const Hashes& hashes_of, int partition_bits, int operations, bool ebb = false,
              uint64_t base = 0) {
  Tried tried(seed, hashes_of, partition_bits, base);
  for (int i = 0; i < operations; ++i) {
    if (i % (operations / 32) == 0) CheckSweep(tried.index, tried.model);
    if (ebb && i % (operations / 128) == 0) tried.erases = i / (operations / 128) % 3 == 0 ? 8 : 2;
    tried.Step();
    if (Test::HasFatalFailure()) return;
  }
  tried.CheckAll();
  CheckDoubt(tried.index, tried.model);
}

// A log of many terabytes.
constexpr uint64_t kBase = (uint64_t{1} << 46) + 12'345;

// Copies an index piece by piece with random operations in between.
struct Copied {
  std::vector<std::vector<HashIndex::Entry>> pieces;
  std::vector<HashIndex::Shape> shapes;
};
void CopyInPieces(Tried& tried, int partition_bits, int steps_between, Copied& copied) {
  for (uint64_t partition = 0; partition < tried.index.partitions(); ++partition) {
    std::optional<uint64_t> from = partition_bits == 0 ? 0 : partition << (64 - partition_bits);
    uint64_t last = 0;
    while (from) {
      auto& piece = copied.pieces.emplace_back();
      from = tried.index.Copy(*from, piece);
      for (const HashIndex::Entry& entry : piece) {
        ASSERT_LE(last, entry.hash);
        last = entry.hash;
      }
      ASSERT_TRUE(!from ||
                  (last < *from && (partition_bits == 0 || *from >> (64 - partition_bits) == partition)));
      for (int i = 0; i < steps_between; ++i) tried.Step();
      if (Test::HasFatalFailure()) return;
    }
    copied.shapes.push_back(tried.index.ShapeOf(partition));
  }
}

// What was there while a copy was made is found in what is made of it, whose size is guessed to be `guessed`
// eighths of what it is.
void RunCopy(uint64_t seed, const Hashes& hashes_of, int partition_bits, int operations, int steps_between,
             uint64_t guessed = 8, uint64_t base = 0) {
  Tried tried(seed, hashes_of, partition_bits, base);
  for (int i = 0; i < operations; ++i) tried.Step();
  const Model before = tried.model;
  tried.gone.clear();
  Copied copied;
  CopyInPieces(tried, partition_bits, steps_between, copied);
  if (Test::HasFatalFailure()) return;

  Tried made(seed + 1000, hashes_of, partition_bits, base / 2);  // of older blocks, there may be more again
  made.position = tried.position;
  for (size_t i = 0; i < copied.shapes.size(); ++i) {
    HashIndex::Shape shape = copied.shapes[i];
    shape.slots = shape.slots * guessed / 8;
    ASSERT_TRUE(made.index.Prepare(i, shape, tried.position));
  }
  std::map<uint64_t, int> met;  // by position
  for (const auto& piece : copied.pieces) {
    ASSERT_TRUE(made.index.Fill(piece));
    for (const HashIndex::Entry& entry : piece) ++met[entry.slot.position];
  }
  for (const auto& [hash, slot] : before) {
    if (tried.gone.contains(slot.position)) continue;
    ASSERT_EQ(met[slot.position], 1);
    ASSERT_THAT(HashIndex::Latch(made.index, hash).Find(), Contains(slot));
    made.model.emplace(hash, slot);
  }
  // It is an index like any other.
  for (int i = 0; i < operations / 4; ++i) {
    made.Step();
    if (Test::HasFatalFailure()) return;
  }
  for (const auto& [hash, slot] : made.model) {
    ASSERT_THAT(HashIndex::Latch(made.index, hash).Find(), Contains(slot));
  }
}

TEST(HashIndexTest, FindsWhatWasInserted) { RunModel(1, {}, 3, 200'000); }
TEST(HashIndexTest, SurvivesHashesThatCollide) { RunModel(2, {.bits = 9}, 3, 20'000); }
TEST(HashIndexTest, SurvivesHashesThatDifferInFewBits) { RunModel(3, {.bits = 14}, 3, 50'000); }
// One table: its growth takes many writes.
TEST(HashIndexTest, FindsEverythingWhileItGrows) { RunModel(7, {}, 0, 200'000); }
TEST(HashIndexTest, FindsWhatStandsBehindABase) { RunModel(13, {}, 2, 50'000, false, kBase); }
TEST(HashIndexTest, SurvivesEbbAndFlow) {
  RunModel(11, {}, 0, 300'000, /*ebb=*/true);
  RunModel(12, {.bits = 14}, 0, 100'000, /*ebb=*/true);
}
TEST(HashIndexTest, SurvivesHashesThatCrowdAtTheBeginning) {
  RunModel(8, {.same = 12, .prefix = 0}, 0, 12'000);
}
TEST(HashIndexTest, SurvivesHashesThatCrowdInTheMiddle) {
  RunModel(9, {.same = 12, .prefix = 1234}, 0, 12'000);
}
TEST(HashIndexTest, SurvivesHashesThatCrowdAtTheEnd) {
  RunModel(10, {.same = 12, .prefix = 4095}, 0, 12'000);
}

TEST(HashIndexTest, ACopyOfNothingIsEmpty) {
  MemoryBudget budget(1 << 20);
  HashIndex index(budget, 4);
  std::vector<HashIndex::Entry> entries;
  EXPECT_EQ(index.Copy(uint64_t{3} << 60, entries), std::nullopt);
  EXPECT_TRUE(entries.empty());
  EXPECT_EQ(index.ShapeOf(3).slots, 0u);
  EXPECT_TRUE(index.Prepare(3, index.ShapeOf(3), 1));
  EXPECT_TRUE(index.Fill(entries));
}
TEST(HashIndexTest, ACopyHasAllThatStays) { RunCopy(21, {}, 3, 200'000, 0); }
TEST(HashIndexTest, ACopyHasAllThatStaysWhileOtherSlotsComeAndGo) {
  for (const int steps : {1, 50, 3000}) RunCopy(22, {}, 0, 100'000, steps);
}
TEST(HashIndexTest, ACopyIsMadeWhileTablesAreSmallAndForgetMuch) {
  for (int i = 0; i < 30; ++i) RunCopy(30 + i, {}, 2, 100 + i * 100, 40);
}
TEST(HashIndexTest, ACopyHasAllThatStaysBehindABase) { RunCopy(28, {}, 2, 50'000, 50, 8, kBase); }
TEST(HashIndexTest, ACopyOfMoreThanWasSaid) {
  for (const int guessed : {0, 2, 6, 7}) RunCopy(23, {}, 1, 80'000, 100, guessed);
}
TEST(HashIndexTest, ACopyOfHashesThatCollide) {
  RunCopy(24, {.bits = 9}, 3, 20'000, 100);
  RunCopy(25, {.bits = 14}, 3, 50'000, 100);
  RunCopy(26, {.bits = 14}, 3, 50'000, 100, 5);
}
TEST(HashIndexTest, ACopyOfHashesThatCrowd) {
  for (const uint64_t prefix : {0, 1234, 4095}) RunCopy(27, {.same = 12, .prefix = prefix}, 0, 12'000, 100);
}

TEST(HashIndexTest, TakesAtMostTenBytesAKeyAndFindsFewStrangers) {
  constexpr uint64_t kKeys = 1'000'000;
  MemoryBudget budget(16 << 20);
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
  EXPECT_TRUE(index.ok());

  size_t strangers = 0;
  for (uint64_t i = 0; i < kKeys; ++i) {
    const uint64_t hash = random.Next();
    strangers += HashIndex::Latch(index, hash).Find().size();
  }
  EXPECT_LE(strangers, kKeys / 1000);
}

// The frames of a large budget are large as well.
TEST(HashIndexTest, TakesAtMostTenBytesAKeyWithALargeBudget) {
  MemoryBudget budget(uint64_t{64} << 30);
  HashIndex index(budget, 4);
  storage::SeededRandom random(4);
  double bytes_per_key = 0;
  int samples = 0;
  for (uint64_t i = 1; i <= 4'000'000; ++i) {
    HashIndex::Latch latch(index, random.Next());
    ASSERT_TRUE(latch.Reserve(i * 80 + 4096));
    latch.Insert({.position = i * 80 + 4096});
    if (i < 1'600'000 || i % 50'000 != 0) continue;
    bytes_per_key += static_cast<double>(IndexBytes(budget)) / static_cast<double>(i);
    ++samples;
  }
  EXPECT_LE(bytes_per_key / samples, 10.0);
  RecordProperty("bytes_per_key", std::to_string(bytes_per_key / samples));
}

// Of positions that stand far from the base, small tables remember less, and go on so when they are large.
TEST(HashIndexTest, ABaseLeavesRoomForHashes) {
  const auto known = [](uint64_t base) {
    MemoryBudget budget(16 << 20);
    HashIndex index(budget, 2, base);
    storage::SeededRandom random(4);
    for (uint64_t i = 1; i <= 100'000; ++i) {
      HashIndex::Latch latch(index, random.Next());
      EXPECT_TRUE(latch.Reserve(kBase + i * 80));
      latch.Insert({.position = kBase + i * 80});
    }
    return index.ShapeOf(0).known_bits;
  };
  EXPECT_GE(known(kBase), known(0) + 20);
}

TEST(HashIndexTest, ASystemThatRefusesTheAddressesIsFoundOut) {
  MemoryBudget budget(uint64_t{1} << 60);
  HashIndex index(budget, 4);
  EXPECT_FALSE(index.ok());
  HashIndex::Latch latch(index, 1);
  EXPECT_FALSE(latch.Reserve(1));
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
