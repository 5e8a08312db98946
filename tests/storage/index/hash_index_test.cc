#include "storage/index/hash_index.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

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

// Random inserts, replaces and erases against a multimap, with hashes of `bits` random bits behind the first
// `same` ones, which are those of `prefix`.
struct Hashes {
  int bits = 64;
  int same = 0;
  uint64_t prefix = 0;
};
void RunModel(uint64_t seed, const Hashes& hashes_of, int partition_bits, int operations) {
  storage::SeededRandom random(seed);
  MemoryBudget budget(64 << 20);
  HashIndex index(budget, partition_bits);
  Model model;
  std::vector<uint64_t> hashes;
  uint64_t position = 4096;
  for (int i = 0; i < operations; ++i) {
    const bool known = !hashes.empty() && random.Next() % 2 == 0;
    const uint64_t fresh = (random.Next() << (64 - hashes_of.bits)) >> hashes_of.same |
                           hashes_of.prefix << (63 - hashes_of.same) << 1;
    const uint64_t hash = known ? hashes[random.Next() % hashes.size()] : fresh;
    position += 1 + random.Next() % 5000;
    if (i % (operations / 32) == 0) CheckSweep(index, model);
    const Slot slot = {position, random.Next() % 8 == 0, random.Next() % 2 == 0, random.Next() % 2 == 0};
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
  CheckSweep(index, model);
  CheckDoubt(index, model);
}

TEST(HashIndexTest, FindsWhatWasInserted) { RunModel(1, {}, 3, 200'000); }
TEST(HashIndexTest, SurvivesHashesThatCollide) { RunModel(2, {.bits = 9}, 3, 20'000); }
TEST(HashIndexTest, SurvivesHashesThatDifferInFewBits) { RunModel(3, {.bits = 14}, 3, 50'000); }
// One table: its growth takes many writes.
TEST(HashIndexTest, FindsEverythingWhileItGrows) { RunModel(7, {}, 0, 200'000); }
TEST(HashIndexTest, SurvivesHashesThatCrowdAtTheBeginning) {
  RunModel(8, {.same = 12, .prefix = 0}, 0, 12'000);
}
TEST(HashIndexTest, SurvivesHashesThatCrowdInTheMiddle) {
  RunModel(9, {.same = 12, .prefix = 1234}, 0, 12'000);
}
TEST(HashIndexTest, SurvivesHashesThatCrowdAtTheEnd) {
  RunModel(10, {.same = 12, .prefix = 4095}, 0, 12'000);
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
