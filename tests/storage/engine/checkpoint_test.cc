// Starts from checkpoints: what they spare, and that nothing but time depends on them.

#include <map>

#include "gtest/gtest.h"

#include "tests/storage/engine/simulated_store.h"

namespace thermocline::testing {
namespace {

constexpr char kCheckpoint[] = "data/CHECKPOINT";

std::string KeyAt(int i) { return "key" + std::to_string(i); }

class CheckpointTest : public ::testing::Test {
 protected:
  void Open() { ASSERT_EQ(store.Open(), absl::OkStatus()); }
  void Reopen() {
    ASSERT_EQ(store.Close(), absl::OkStatus());
    Open();
  }
  void SetKeys(int first, int end, const std::string& value) {
    for (int i = first; i < end; ++i) {
      ASSERT_TRUE(store.Set(KeyAt(i), value + std::to_string(i)).ok());
      if (i % 16 == 0) store.RunUntilIdle();
    }
  }
  void ExpectKeys(int first, int end, const std::string& value) {
    for (int i = first; i < end; ++i) ASSERT_EQ(store.Read(KeyAt(i)), value + std::to_string(i));
  }
  void ExpectNone(int first, int end) {
    for (int i = first; i < end; ++i) ASSERT_EQ(store.Read(KeyAt(i)), "(none)") << i;
  }
  storage::EngineStats Stats() { return store.engine->Stats(); }
  // Until the checkpoint that is due has been written.
  void AwaitCheckpoint() {
    const uint64_t before = Stats().checkpoints;
    for (int i = 0; i < 1000 && Stats().checkpoints == before; ++i) {
      store.Advance(std::chrono::milliseconds(50));
      store.RunUntilIdle();
    }
    ASSERT_GT(Stats().checkpoints, before);
  }

  SimulatedStore store{7};
};

const std::string kLong(500, 'v');

TEST_F(CheckpointTest, AStoreThatWasClosedStartsWithoutReadingItsRecords) {
  Open();
  SetKeys(0, 1000, kLong);
  for (int i = 0; i < 1000; i += 10) ASSERT_TRUE(store.Delete(KeyAt(i)).ok());
  SetKeys(1, 2, "new");
  const storage::EngineStats before = Stats();
  Reopen();
  const storage::EngineStats after = Stats();
  EXPECT_EQ(after.checkpoint_status, absl::OkStatus());
  EXPECT_EQ(after.recovered_slots, before.index_slots);
  EXPECT_LT(after.recovered_records, 200u) << "only the last block is read";
  EXPECT_EQ(after.index_slots, before.index_slots);
  EXPECT_EQ(after.live_keys_min, before.live_keys_min);
  EXPECT_EQ(after.live_keys_max, before.live_keys_max);
  EXPECT_EQ(after.unresolved_slots, before.unresolved_slots);
  EXPECT_EQ(after.record_bytes, before.record_bytes);
  EXPECT_EQ(after.dead_bytes, before.dead_bytes);
  for (int i = 0; i < 1000; ++i) {
    const std::string expected = i % 10 == 0 ? "(none)" : i == 1 ? "new1" : kLong + std::to_string(i);
    ASSERT_EQ(store.Read(KeyAt(i)), expected);
  }
}

TEST_F(CheckpointTest, AfterACrashOnlyWhatCameLaterIsRead) {
  store.options.checkpoint_log_bytes = 4 * store.options.block_bytes;
  Open();
  SetKeys(0, 2000, kLong);
  AwaitCheckpoint();
  const uint64_t slots = Stats().index_slots;
  SetKeys(100, 120, "later");
  for (int i = 200; i < 220; ++i) ASSERT_TRUE(store.Delete(KeyAt(i)).ok());
  ASSERT_EQ(store.Flush(), absl::OkStatus());
  store.Crash();
  Open();
  EXPECT_EQ(Stats().checkpoint_status, absl::OkStatus());
  EXPECT_GT(Stats().recovered_slots, slots / 2);
  EXPECT_LT(Stats().recovered_records, 1000u);
  ExpectKeys(0, 100, kLong);
  ExpectKeys(100, 120, "later");
  ExpectKeys(120, 200, kLong);
  ExpectNone(200, 220);
  ExpectKeys(220, 2000, kLong);
}

TEST_F(CheckpointTest, WhatWasDeletedStaysDeletedWithAndWithoutIt) {
  store.options.checkpoint_log_bytes = 2 * store.options.block_bytes;
  Open();
  SetKeys(0, 1000, kLong);
  AwaitCheckpoint();
  for (int i = 0; i < 1000; i += 2) ASSERT_TRUE(store.Delete(KeyAt(i)).ok());
  ASSERT_TRUE(store.Compact().ok());
  store.Advance(std::chrono::milliseconds(100));
  store.RunUntilIdle();
  ASSERT_GT(Stats().checkpoints, 1u);
  for (int i = 0; i < 1000; i += 4) ASSERT_TRUE(store.Set(KeyAt(i), "again").ok());
  ASSERT_TRUE(store.Compact().ok());
  ASSERT_EQ(store.Flush(), absl::OkStatus());
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 1000; ++i) {
      const std::string expected = i % 4 == 0 ? "again" : i % 2 == 0 ? "(none)" : kLong + std::to_string(i);
      ASSERT_EQ(store.Read(KeyAt(i)), expected) << round;
    }
    if (round == 1) store.disk.Remove(kCheckpoint).IgnoreError();
    store.Crash();
    Open();
  }
}

TEST_F(CheckpointTest, ADamagedOneIsRefusedAndAllBlocksAreRead) {
  Open();
  SetKeys(0, 300, kLong);
  ASSERT_EQ(store.Close(), absl::OkStatus());
  size_t size = store.disk.Contents(kCheckpoint)->size();
  for (size_t at = 0; at < size; at += 1 + at / 16) {
    const std::string whole = *store.disk.Contents(kCheckpoint);
    auto file = store.disk.Open(kCheckpoint, storage::FileSystem::Mode::kReadWrite);
    ASSERT_TRUE(file.ok());
    std::string damaged = whole.substr(at, 1);
    damaged[0] = static_cast<char>(damaged[0] ^ 0x40);
    ASSERT_EQ((*file)->WriteAt(at, damaged), absl::OkStatus());
    file->reset();
    Open();
    ASSERT_TRUE(absl::IsDataLoss(Stats().checkpoint_status)) << at << ": " << Stats().checkpoint_status;
    ASSERT_EQ(Stats().recovered_slots, 0u);
    ASSERT_EQ(Stats().recovered_records, 300u);
    ASSERT_EQ(Stats().live_keys_min, 300u);
    ASSERT_EQ(Stats().live_keys_max, 300u);
    ASSERT_EQ(store.Close(), absl::OkStatus());
    size = store.disk.Contents(kCheckpoint)->size();
  }
}

TEST_F(CheckpointTest, AnotherMemoryLimitDoesWithoutIt) {
  Open();
  SetKeys(0, 300, kLong);
  ASSERT_EQ(store.Close(), absl::OkStatus());
  store.options.memory_bytes *= 16;
  Open();
  EXPECT_TRUE(absl::IsFailedPrecondition(Stats().checkpoint_status)) << Stats().checkpoint_status;
  ExpectKeys(0, 300, kLong);
}

TEST_F(CheckpointTest, AFullDiskLeavesNoneAndLosesNothing) {
  Open();
  SetKeys(0, 300, kLong);
  ASSERT_EQ(store.Flush(), absl::OkStatus());
  store.RunUntilIdle();
  store.disk.SetCapacity(store.disk.used_bytes());
  ASSERT_EQ(store.Close(), absl::OkStatus());
  EXPECT_FALSE(store.disk.Contents(kCheckpoint));
  EXPECT_FALSE(store.disk.Contents(std::string(kCheckpoint) + ".new"));
  store.disk.SetCapacity(UINT64_MAX);
  Open();
  ExpectKeys(0, 300, kLong);
}

TEST_F(CheckpointTest, WhatWasHotIsInMemoryAgainAfterARestart) {
  Open();
  // Twice as much as memory holds.
  SetKeys(0, 16'000, kLong);
  store.RunUntilIdle();
  // Some come from the disk into the cache, the last ones are in blocks.
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 1500; ++i) ASSERT_NE(store.Read(KeyAt(i)), "(none)");
    for (int i = 15'900; i < 16'000; ++i) ASSERT_NE(store.Read(KeyAt(i)), "(none)");
  }
  // Stale ones do not come back.
  ASSERT_TRUE(store.Delete(KeyAt(7)).ok());
  Reopen();
  store.RunUntilIdle();
  EXPECT_GT(Stats().warmed_records, 1400u);
  EXPECT_EQ(Stats().warmed_records, Stats().cached_records);
  const uint64_t reads_before = Stats().disk_reads;
  for (int i = 0; i < 1500; ++i)
    ASSERT_EQ(store.Read(KeyAt(i)), i == 7 ? "(none)" : kLong + std::to_string(i));
  ExpectKeys(15'900, 16'000, kLong);
  EXPECT_LT(Stats().disk_reads - reads_before, 50u);
}

TEST_F(CheckpointTest, WarmingUpEndsWithTheStoreAndAtADamagedBlock) {
  Open();
  SetKeys(0, 16'000, kLong);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 1500; ++i) ASSERT_NE(store.Read(KeyAt(i)), "(none)");
  }
  for (int round = 0; round < 20; ++round) {
    ASSERT_EQ(store.CloseAtOnce(), absl::OkStatus());
    Open();
    for (int steps = round; steps > 0; --steps) store.RunOne();
    if (round == 10) store.disk.Fail(SimulatedDisk::Operation::kRead, 5);
  }
  store.RunUntilIdle();
  ExpectKeys(0, 1500, kLong);
}

// Whenever the close comes: some of a batch's copies are in new blocks then, which no roster lists.
TEST_F(CheckpointTest, ACloseInTheMiddleOfCompactionIsExact) {
  Open();
  SetKeys(0, 1000, kLong);
  std::map<int, std::string> expected;
  for (int i = 0; i < 1000; ++i) expected[i] = kLong + std::to_string(i);
  uint64_t cut_short = 0;
  for (int round = 0; round < 60; ++round) {
    for (int i = round % 5; i < 1000; i += 5 + round % 3) {
      const bool deleted = i % 4 == 0;
      expected[i] = deleted ? "(none)" : kLong + std::to_string(round);
      ASSERT_TRUE((deleted ? store.Delete(KeyAt(i)) : store.Set(KeyAt(i), expected[i])).ok());
    }
    store.engine->Compact([](const auto&) {});
    for (uint64_t steps = store.random.Next() % 60; steps > 0; --steps) store.RunOne();
    cut_short += Stats().compacting;
    ASSERT_EQ(store.CloseAtOnce(), absl::OkStatus());
    if (round % 7 == 6) {
      ASSERT_EQ(store.disk.Remove(kCheckpoint), absl::OkStatus());
    }
    Open();
    ASSERT_EQ(Stats().checkpoint_status, absl::OkStatus());
    ASSERT_EQ(Stats().recovered_slots > 0, round % 7 != 6);
    for (const auto& [i, value] : expected) ASSERT_EQ(store.Read(KeyAt(i)), value) << round;
  }
  EXPECT_GT(cut_short, 10u);
}

}  // namespace
}  // namespace thermocline::testing
