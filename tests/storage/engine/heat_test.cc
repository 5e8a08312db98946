// What is hot stays in memory: records that outlive their blocks there.

#include <string>

#include "gtest/gtest.h"

#include "tests/storage/engine/simulated_store.h"

namespace thermocline::testing {
namespace {

class HeatTest : public ::testing::Test {
 protected:
  static constexpr int kHot = 200;

  HeatTest() : store(1) { EXPECT_EQ(store.Open(), absl::OkStatus()); }

  static std::string HotKey(int i) { return "hot" + std::to_string(i); }
  static std::string HotValue(int i) { return std::string(300 + 3 * i, 'h'); }
  void SetHot() {
    for (int i = 0; i < kHot; ++i) ASSERT_TRUE(store.Set(HotKey(i), HotValue(i)).ok());
  }
  // Returns how many reads of the disk that took.
  uint64_t ReadHot() {
    const uint64_t before = store.engine->Stats().disk_reads;
    for (int i = 0; i < kHot; ++i) EXPECT_EQ(store.Read(HotKey(i)), HotValue(i));
    return store.engine->Stats().disk_reads - before;
  }
  // Writes so many other records of a KiB. All memory is 4 MiB.
  void WriteOthers(int count) {
    const std::string value(1024, 'o');
    for (int i = 0; i < count; ++i) ASSERT_TRUE(store.Set("other" + std::to_string(others++), value).ok());
    store.RunUntilIdle();
  }
  // Makes the hot ones leave their blocks, used.
  void Heat() {
    SetHot();
    ReadHot();
    ReadHot();
    WriteOthers(20'000);
  }
  void CheckMemory() {
    const auto stats = store.engine->Stats();
    ASSERT_LE(stats.index_bytes + stats.block_bytes + stats.chunk_table_bytes + stats.compaction_bytes +
                  stats.cache_bytes,
              stats.memory_limit);
  }

  SimulatedStore store;
  int others = 0;
};

TEST_F(HeatTest, WhatIsReadStaysWhenItsBlockLeaves) {
  Heat();
  EXPECT_EQ(ReadHot(), 0u);
  const auto stats = store.engine->Stats();
  EXPECT_GE(stats.cached_records, uint64_t{kHot});
  EXPECT_GT(stats.cache_bytes, uint64_t{kHot} * 400);
  EXPECT_EQ(stats.hits_memory, stats.gets);
  CheckMemory();
}

TEST_F(HeatTest, WhatNobodyReadsTakesNoCache) {
  SetHot();
  WriteOthers(20'000);
  EXPECT_EQ(store.engine->Stats().cached_records, 0u);
  EXPECT_EQ(store.engine->Stats().cache_bytes, 0u);
  EXPECT_EQ(ReadHot(), uint64_t{kHot});
}

TEST_F(HeatTest, WhatIsReadAgainComesIn) {
  SetHot();
  WriteOthers(20'000);
  ReadHot();
  ReadHot();
  EXPECT_EQ(ReadHot(), 0u);
  CheckMemory();
}

TEST_F(HeatTest, ReadingEverythingOnceDoesNotPushOutWhatIsHot) {
  Heat();
  ReadHot();
  // The second time, some of the others are remembered from the first: nobody can tell that they are not hot.
  for (int round = 0; round < 2; ++round) {
    uint64_t reads = 0;
    for (int i = 0; i < others; ++i) {
      ASSERT_EQ(store.Read("other" + std::to_string(i)).size(), 1024u);
      CheckMemory();
      if (i % 2000 == 0) reads += ReadHot();
    }
    EXPECT_LT(reads, uint64_t{kHot} / 2) << round;  // of eleven times all of them
    EXPECT_LT(ReadHot(), uint64_t{kHot} / 20) << round;
  }
}

TEST_F(HeatTest, AScanLeavesTheCacheAlone) {
  Heat();
  const uint64_t cached = store.engine->Stats().cached_records;
  storage::ScanRequest request = {.max_entries = 1000};
  for (bool done = false; !done;) {
    auto page = store.Scan(request);
    ASSERT_TRUE(page.ok()) << page.status();
    request.cursor = page->cursor;
    done = page->done;
  }
  EXPECT_EQ(store.engine->Stats().cached_records, cached);
  EXPECT_EQ(ReadHot(), 0u);
}

// Its key is compared in memory, so nobody has to find out later what it displaced.
TEST_F(HeatTest, OverwritingWhatIsHotIsNotBlind) {
  Heat();
  SetHot();
  EXPECT_EQ(store.engine->Stats().unresolved_slots, 0u);
  EXPECT_EQ(store.engine->Stats().live_keys_max, uint64_t{kHot} + others);
  WriteOthers(20'000);
  // The new ones were used, too.
  EXPECT_LT(ReadHot(), uint64_t{kHot});
}

TEST_F(HeatTest, CompactionTakesHotRecordsAlong) {
  for (int i = 0; i < kHot; ++i) {
    ASSERT_TRUE(store.Set(HotKey(i), HotValue(i)).ok());
    WriteOthers(3);
  }
  ReadHot();
  ReadHot();
  WriteOthers(20'000);
  // Everything that stands beside them dies.
  for (int i = 0; i < 3 * kHot; ++i) ASSERT_TRUE(store.Delete("other" + std::to_string(i)).ok());
  const auto report = store.Compact();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GE(store.engine->Stats().compaction_moved_records, uint64_t{kHot});
  EXPECT_EQ(ReadHot(), 0u);
}

TEST_F(HeatTest, TheIndexGetsItsMemoryBack) {
  Heat();
  const uint64_t before = store.engine->Stats().cache_bytes;
  for (int i = 0; i < 250'000; ++i) ASSERT_TRUE(store.Set("k" + std::to_string(i), "").ok()) << i;
  CheckMemory();
  EXPECT_LT(store.engine->Stats().cache_bytes + store.engine->Stats().block_bytes, before + (2 << 20));
  EXPECT_EQ(store.Read("k77"), "");
}

}  // namespace
}  // namespace thermocline::testing
