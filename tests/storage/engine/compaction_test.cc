// What compaction promises its users: space comes back, nothing that lives is lost, nothing that is dead
// rises.

#include <map>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/storage/engine/simulated_store.h"

namespace thermocline::testing {
namespace {

using storage::Durability;

class CompactionTest : public ::testing::Test {
 protected:
  CompactionTest() { EXPECT_EQ(store.Open(), absl::OkStatus()); }

  static std::string Key(int i) { return "key" + std::to_string(i); }
  static std::string Value(int i, int round) {
    return std::string(500, static_cast<char>('a' + round % 26)) + std::to_string(i);
  }

  void SetAll(int keys, int round, uint64_t expires_at_ms = 0) {
    for (int i = 0; i < keys; ++i) {
      const std::string value = Value(i, round);
      const auto result = store.Apply(
          {.key = Key(i), .value = value, .expires_at_ms = expires_at_ms, .durability = Durability::kMemory});
      ASSERT_TRUE(result.ok()) << result.status();
    }
    ASSERT_EQ(store.Flush(), absl::OkStatus());
  }
  void ExpectAll(int keys, int round) {
    for (int i = 0; i < keys; ++i) ASSERT_EQ(store.Read(Key(i)), Value(i, round)) << i;
  }
  size_t BlockFiles() const {
    size_t files = 0;
    for (const std::string& path : store.disk.Paths()) files += path.ends_with(".block");
    return files;
  }
  void CompactOk() {
    const auto report = store.Compact();
    ASSERT_TRUE(report.ok()) << report.status();
  }

  SimulatedStore store{7};
};

TEST_F(CompactionTest, OverwrittenRecordsGiveTheirSpaceBack) {
  for (int round = 0; round < 10; ++round) SetAll(400, round);
  CompactOk();
  const auto stats = store.engine->Stats();
  EXPECT_GT(stats.compacted_blocks, 0u);
  // 400 records of some 510 bytes are 4 blocks; the open and the next one are empty but allocated.
  EXPECT_LE(stats.blocks, 8u);
  EXPECT_EQ(BlockFiles(), stats.blocks);
  EXPECT_EQ(stats.live_keys_min, 400u);
  EXPECT_EQ(stats.live_keys_max, 400u);
  ExpectAll(400, 9);
  ASSERT_EQ(store.Close(), absl::OkStatus());
  ASSERT_EQ(store.Open(), absl::OkStatus());
  ExpectAll(400, 9);
}

TEST_F(CompactionTest, ItStartsByItself) {
  for (int round = 0; round < 10; ++round) {
    SetAll(400, round);
    store.Advance(std::chrono::milliseconds(100));
    store.RunUntilIdle();
  }
  EXPECT_GT(store.engine->Stats().compacted_blocks, 0u);
  EXPECT_LE(BlockFiles(), 10u);
  ExpectAll(400, 9);
}

TEST_F(CompactionTest, DeletedRecordsLeaveNothingBehind) {
  SetAll(600, 1);
  for (int i = 0; i < 600; ++i) ASSERT_TRUE(store.Delete(Key(i)).ok());
  CompactOk();
  SetAll(200, 2);  // so that the block of the deletes is sealed
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(store.Delete(Key(i)).ok());
  CompactOk();
  CompactOk();
  EXPECT_EQ(store.engine->Stats().live_keys_max, 0u);
  for (int reopened = 0; reopened < 2; ++reopened) {
    for (int i = 0; i < 600; ++i) ASSERT_EQ(store.Read(Key(i)), "(none)") << i;
    ASSERT_EQ(store.Close(), absl::OkStatus());
    ASSERT_EQ(store.Open(), absl::OkStatus());
  }
  EXPECT_LE(store.engine->Stats().blocks, 4u);
}

TEST_F(CompactionTest, ExpiredRecordsAreReclaimedUnread) {
  SetAll(600, 1, store.clock.NowMs() + 1000);
  SetAll(1, 2);
  store.clock.Advance(2000);
  const uint64_t slots = store.engine->Stats().index_slots;
  CompactOk();
  EXPECT_LT(store.engine->Stats().index_slots, slots / 2);
  EXPECT_GT(store.engine->Stats().compaction_dropped_records, 300u);
}

TEST_F(CompactionTest, AGetThatWaitsForTheDiskOutlivesItsBlock) {
  for (int round = 0; round < 30; ++round) SetAll(300, round);  // the first blocks leave memory
  SetAll(1, 40);
  std::optional<std::string> answer;
  for (int i = 0; i < 300; ++i) {
    if (i == 0 || i % 3 == 0) continue;
    ASSERT_TRUE(store.Set(Key(i), Value(i, 29)).ok());
  }
  store.engine->Get(Key(3), [&](const auto& entry) { answer = std::string((**entry).value.view()); });
  CompactOk();
  store.RunUntilIdle();
  EXPECT_EQ(answer, Value(3, 29));
}

TEST_F(CompactionTest, AScanMeetsWhatIsMovedMeanwhile) {
  for (int round = 0; round < 6; ++round) SetAll(400, round);
  std::set<std::string> met;
  storage::ScanRequest request = {.max_entries = 40};
  int pages = 0;
  for (bool done = false; !done;) {
    const auto page = store.Scan(request);
    ASSERT_TRUE(page.ok()) << page.status();
    for (const auto& item : page->items) met.insert(item.key);
    request.cursor = page->cursor;
    done = page->done;
    if (++pages > 12) continue;  // what is moved again and again is ahead of the scan for ever
    for (int i = 0; i < 50; ++i) {
      const int key = static_cast<int>(store.random.Next() % 400);
      ASSERT_TRUE(store.Set(Key(key), Value(key, 7)).ok());
    }
    CompactOk();
  }
  EXPECT_EQ(met.size(), 400u);
}

TEST_F(CompactionTest, AFullDiskFailsItAndRoomMendsIt) {
  for (int round = 0; round < 6; ++round) SetAll(400, round);
  const uint64_t used = store.disk.used_bytes();
  store.disk.SetCapacity(used / 2);
  const auto failed = store.Compact();
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kResourceExhausted) << failed.status();
  ExpectAll(400, 5);
  store.disk.SetCapacity(UINT64_MAX);
  CompactOk();
  EXPECT_EQ(store.engine->Stats().compaction_status, absl::OkStatus());
  EXPECT_LT(store.disk.used_bytes(), used);
  ExpectAll(400, 5);
  ASSERT_TRUE(store.Set("more", "x").ok());
}

TEST_F(CompactionTest, AFullDiskKeepsSpaceForDeletes) {
  store.RunUntilIdle();
  store.disk.SetCapacity(store.disk.used_bytes() + (4 << 20));
  absl::Status status;
  int keys = 0;
  while (status.ok()) {
    ASSERT_LT(keys, 100'000);
    status = store.Set(Key(keys), Value(keys, 0)).status();
    keys += status.ok();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("kept for deletes"), std::string::npos) << status;
  EXPECT_EQ(store.engine->Stats().write_status, status);
  ASSERT_GT(keys, 2000);
  int waits = 0;
  for (int i = 0; i < keys; ++i) {
    // Where nothing is compacted meanwhile, there is an end of that space as well.
    for (status = store.Delete(Key(i)).status(); !status.ok() && waits < 100; ++waits) {
      store.Advance(std::chrono::milliseconds(100));
      store.RunUntilIdle();
      status = store.Delete(Key(i)).status();
    }
    ASSERT_EQ(status, absl::OkStatus()) << i;
    if (i < 1000) {
      ASSERT_EQ(waits, 0);
    }
  }
  for (int i = 0; i < 200 && !store.engine->Stats().write_status.ok(); ++i) {
    store.Advance(std::chrono::milliseconds(100));
    store.RunUntilIdle();
  }
  ASSERT_TRUE(store.Set("after", "1").ok());
  for (int i = 0; i < keys; ++i) ASSERT_EQ(store.Read(Key(i)), "(none)");
}

// The disk has room for what lives and a quarter more.
TEST_F(CompactionTest, OverwritesDoNotLockAFullDiskUp) {
  constexpr int kKeys = 6000;
  SetAll(kKeys, 0);
  CompactOk();
  store.disk.SetCapacity(store.disk.used_bytes() / 4 * 5 + (1 << 20));
  for (int i = 0; i < 5 * kKeys; ++i) {
    const int key = static_cast<int>(store.random.Next() % kKeys);
    absl::Status status = store.Set(Key(key), Value(key, 0)).status();
    for (int tries = 0; tries < 400 && !status.ok(); ++tries) {
      store.Advance(std::chrono::milliseconds(50));
      store.RunUntilIdle();
      status = store.Set(Key(key), Value(key, 0)).status();
    }
    ASSERT_EQ(status, absl::OkStatus()) << i;
  }
  ExpectAll(kKeys, 0);
  // What ends early is joined again.
  const auto stats = store.engine->Stats();
  EXPECT_LT(stats.blocks, 2 * stats.disk_bytes / store.options.block_bytes);
}

TEST_F(CompactionTest, FailuresOfTheDiskLoseNothing) {
  using Operation = SimulatedDisk::Operation;
  for (uint64_t nth = 1; nth < 12; ++nth) {
    for (const Operation operation : {Operation::kSync, Operation::kWrite, Operation::kAllocate}) {
      SimulatedStore other(nth);
      ASSERT_EQ(other.Open(), absl::OkStatus());
      for (int i = 0; i < 900; ++i) {
        const std::string value = Value(i % 150, i / 150);
        ASSERT_TRUE(
            other.Apply({.key = Key(i % 150), .value = value, .durability = Durability::kMemory}).ok());
      }
      ASSERT_EQ(other.Flush(), absl::OkStatus());
      other.disk.Fail(operation, nth);
      (void)other.Compact();
      other.disk.ClearFaults();
      nth % 2 == 0 ? other.Crash() : other.Kill();
      ASSERT_EQ(other.Open(), absl::OkStatus());
      for (int i = 0; i < 150; ++i)
        ASSERT_EQ(other.Read(Key(i)), Value(i, 5)) << i << " after failure " << nth;
    }
  }
}

TEST_F(CompactionTest, NothingRisesAfterABatchThatFailed) {
  using Operation = SimulatedDisk::Operation;
  for (uint64_t seed = 1; seed < 120; ++seed) {
    storage::Options options = SimulatedStore::SmallOptions();
    if (seed % 2 == 0) options.hash_bits = 6;
    SimulatedStore other(seed, options);
    ASSERT_EQ(other.Open(), absl::OkStatus());
    std::map<std::string, std::string> model;
    const Operation operations[] = {Operation::kSync, Operation::kAllocate, Operation::kRead,
                                    Operation::kSyncDirectory};
    for (int round = 0; round < 5; ++round) {
      for (int i = 0; i < 250; ++i) {
        const std::string key = Key(static_cast<int>(other.random.Next() % 200));
        const bool deletes = other.random.Next() % 3 == 0;
        const std::string value = Value(i, round);
        storage::Write write = {.key = key, .durability = Durability::kMemory};
        if (!deletes) write.value = value;
        ASSERT_TRUE(other.Apply(write).ok());
        if (deletes) {
          model.erase(key);
        } else {
          model[key] = value;
        }
      }
      ASSERT_EQ(other.Flush(), absl::OkStatus());
      // A failure of compaction alone: what it writes is synced, allocated and read by itself.
      other.disk.Fail(operations[(seed + round) % 4], 2 + other.random.Next() % 6);
      (void)other.Compact();
      other.disk.ClearFaults();
      if (!other.engine->Stats().write_status.ok()) break;
    }
    other.Kill();
    ASSERT_EQ(other.Open(), absl::OkStatus());
    for (int i = 0; i < 200; ++i) {
      const auto known = model.find(Key(i));
      ASSERT_EQ(other.Read(Key(i)), known == model.end() ? "(none)" : known->second) << i << " of " << seed;
    }
  }
}

TEST_F(CompactionTest, ADamagedRosterOrAMissingBlockIsNamed) {
  for (int round = 0; round < 6; ++round) SetAll(400, round);
  CompactOk();
  ASSERT_EQ(store.Close(), absl::OkStatus());
  const std::string roster = *store.disk.Contents("data/BLOCKS");
  store.disk.FlipBit("data/BLOCKS", 20);
  absl::Status status = store.Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("BLOCKS"));
  store.disk.SetContents("data/BLOCKS", roster);

  std::string block;
  for (const std::string& path : store.disk.Paths()) {
    if (path.ends_with(".block") && block.empty()) block = path;
  }
  ASSERT_EQ(store.disk.Remove(block), absl::OkStatus());
  status = store.Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(block));
}

}  // namespace
}  // namespace thermocline::testing
