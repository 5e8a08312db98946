// What the cache of objects knows of slots and of readers.

#include "storage/object/cache/chunk_table.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "storage/object/cache/read_pattern.h"
#include "storage/system_clock.h"

namespace thermocline::testing {
namespace {

TEST(ChunkTableTest, DoesAsAMapDoes) {
  using storage::object_cache::ChunkId;
  using storage::object_cache::ChunkTable;
  storage::SeededRandom random(1);
  ChunkTable table(60);
  std::map<std::pair<uint64_t, uint32_t>, uint64_t> model;
  std::map<std::pair<uint64_t, uint32_t>, uint32_t> slots;
  std::vector<uint32_t> pinned;
  uint64_t evictions = 0;
  for (int i = 0; i < 100'000; ++i) {
    if (i % 1000 == 0) table.AddSlots(std::min(60, 20 + i / 1000));
    const ChunkId id = {random.Next() % 5 + 1, static_cast<uint32_t>(random.Next() % 20)};
    const std::pair key(id.object, id.chunk);
    const auto found = table.Find(id);
    ASSERT_EQ(found.has_value(), model.contains(key));
    ASSERT_TRUE(!found.has_value() || (found->checksum == model[key] && found->slot == slots[key]));
    switch (random.Next() % 6) {
      case 0:
      case 1: {
        std::optional<uint32_t> slot = table.TakeFree();
        if (!slot.has_value()) {
          slot = table.TakeVictim();
          if (!slot.has_value()) break;
          ++evictions;
          const auto gone =
              std::find_if(slots.begin(), slots.end(), [&](const auto& s) { return s.second == *slot; });
          ASSERT_NE(gone, slots.end());
          ASSERT_EQ(std::count(pinned.begin(), pinned.end(), *slot), 0) << "somebody reads it";
          model.erase(gone->first);
          slots.erase(gone);
        }
        ASSERT_LT(*slot, table.usable());
        table.Put(*slot, id, i, false);
        table.Unpin(*slot);
        model[key] = i;
        slots[key] = *slot;
        break;
      }
      case 2:
        if (!found.has_value()) break;
        table.CountUse(found->slot);
        table.Pin(found->slot);
        pinned.push_back(found->slot);
        break;
      case 3:
        if (!found.has_value()) break;
        table.Drop(found->slot);
        model.erase(key);
        slots.erase(key);
        break;
      case 4: {
        const ChunkId other = {id.object % 5 + 1, id.chunk};
        table.Rename(id, other);
        if (!found.has_value()) break;
        model[{other.object, other.chunk}] = model[key];
        slots[{other.object, other.chunk}] = slots[key];
        model.erase(key);
        slots.erase(key);
        break;
      }
      default:
        if (pinned.size() < 10) break;
        for (const uint32_t slot : pinned) table.Unpin(slot);
        pinned.clear();
    }
    ASSERT_EQ(table.chunks(), model.size());
  }
  EXPECT_GT(evictions, 1000u);
}

TEST(ReadPatternTest, FourReadersAtATime) {
  storage::object_cache::ReadPattern pattern(1000, 16);
  uint32_t ahead[4] = {};
  for (uint32_t i = 0; i < 60; ++i) {
    for (uint32_t reader = 0; reader < 4; ++reader) {
      const uint32_t at = reader * 200 + i;
      const auto advice = pattern.Note(at, at);
      EXPECT_EQ(advice.counted_from, at);
      EXPECT_EQ(pattern.Note(at, at).counted_from, at + 1) << "read again at once";
      EXPECT_EQ(i < 2 && advice.ahead_end > 0, false);
      if (advice.ahead_end > 0) {
        EXPECT_EQ(advice.ahead, std::max(ahead[reader], at + 1));
        EXPECT_LE(advice.ahead_end, at + 17);
        ahead[reader] = advice.ahead_end;
      }
      EXPECT_TRUE(i < 2 || ahead[reader] > at + 1);
    }
  }
  EXPECT_EQ(pattern.Note(990, 999).ahead_end, 0u);
}

}  // namespace
}  // namespace thermocline::testing
