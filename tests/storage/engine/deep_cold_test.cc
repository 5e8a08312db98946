// Records that have left the index for the cold store: they are read, written, deleted, scanned and counted
// as if nothing had happened.

#include <map>
#include <set>

#include "gtest/gtest.h"

#include "tests/storage/engine/simulated_store.h"

namespace thermocline::testing {
namespace {

using std::chrono::milliseconds;
using storage::Condition;
using Kind = storage::Condition::Kind;

constexpr int kKeys = 1500;

std::string Key(int i) { return "key" + std::to_string(i); }
std::string ValueOf(int i) { return std::to_string(i) + std::string(300, 'v'); }

class DeepColdTest : public ::testing::Test {
 protected:
  DeepColdTest() : store(7, SimulatedStore::DeepColdOptions()) {
    EXPECT_EQ(store.Open(), absl::OkStatus());
    for (int i = 0; i < kKeys; ++i) EXPECT_TRUE(store.Set(Key(i), ValueOf(i)).ok());
    Settle();
    EXPECT_GT(Stats().deep_keys, uint64_t{kKeys} / 2);
    EXPECT_LT(Stats().index_slots, uint64_t{kKeys} / 2);
  }

  storage::EngineStats Stats() { return store.engine->Stats(); }
  // Lets the background do all that it has to do.
  void Settle() {
    for (int i = 0; i < 300; ++i) {
      store.Advance(milliseconds(50));
      store.RunUntilIdle();
    }
  }
  // Enough other writes for all that was written before to be demoted.
  void Push() {
    for (int i = 0; i < 600; ++i) {
      EXPECT_TRUE(store.Set("push" + std::to_string(i % 220), ValueOf(i)).ok());
    }
    EXPECT_EQ(store.Flush(), absl::OkStatus());
    Settle();
  }
  void Reopen() {
    ASSERT_EQ(store.Close(), absl::OkStatus());
    ASSERT_EQ(store.Open(), absl::OkStatus());
  }
  std::set<std::string> ScanKeys(const std::string& prefix) {
    std::set<std::string> keys;
    storage::ScanRequest request = {.prefix = prefix, .max_entries = 50};
    for (bool done = false; !done;) {
      auto page = store.Scan(request);
      EXPECT_TRUE(page.ok()) << page.status();
      if (!page.ok()) break;
      for (const auto& item : page->items) keys.insert(item.key);
      request.cursor = page->cursor;
      done = page->done;
    }
    return keys;
  }

  SimulatedStore store;
};

TEST_F(DeepColdTest, EveryValueIsThereAlsoAfterReopening) {
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(store.Read(Key(i)), ValueOf(i));
  EXPECT_GT(Stats().hits_deep, 0u);
  Reopen();
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(store.Read(Key(i)), ValueOf(i));
  store.Crash();
  ASSERT_EQ(store.Open(), absl::OkStatus());
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(store.Read(Key(i)), ValueOf(i));
  EXPECT_EQ(store.Read("nobody"), "(none)");
}

TEST_F(DeepColdTest, WhatIsReadAgainSoonComesBack) {
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 20; ++i) ASSERT_EQ(store.Read(Key(i)), ValueOf(i));
  }
  EXPECT_EQ(Stats().promoted_records, 20u);
  EXPECT_EQ(Stats().hits_deep, 40u);
  EXPECT_EQ(Stats().live_keys_max, uint64_t{kKeys} + 20);
  Settle();
  EXPECT_EQ(Stats().live_keys_max, uint64_t{kKeys});
  for (int i = 0; i < 20; ++i) ASSERT_EQ(store.Read(Key(i)), ValueOf(i));
  Reopen();
  for (int i = 0; i < 20; ++i) ASSERT_EQ(store.Read(Key(i)), ValueOf(i));
}

TEST_F(DeepColdTest, CountsAreExactWhenTheBackgroundIsDone) {
  EXPECT_EQ(Stats().live_keys_min, uint64_t{kKeys});
  EXPECT_EQ(Stats().live_keys_max, uint64_t{kKeys});
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(store.Set(Key(i), "new").ok());
  for (int i = 10; i < 20; ++i) ASSERT_TRUE(store.Delete(Key(i)).ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(store.Set("more" + std::to_string(i), "new").ok());
  // Nobody has looked whether they were there.
  EXPECT_LE(Stats().live_keys_min, uint64_t{kKeys});
  EXPECT_GE(Stats().live_keys_max, uint64_t{kKeys});
  EXPECT_NE(Stats().live_keys_min, Stats().live_keys_max);
  Settle();
  EXPECT_EQ(Stats().live_keys_min, uint64_t{kKeys});
  EXPECT_EQ(Stats().live_keys_max, uint64_t{kKeys});
  EXPECT_EQ(Stats().shadowed_keys_max, 0u);
}

TEST_F(DeepColdTest, WhatWasDeletedStaysDeleted) {
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(store.Delete(Key(i)).ok());
  const auto check = [&] {
    for (int i = 0; i < 40; ++i) ASSERT_EQ(store.Read(Key(i)), "(none)") << i;
  };
  check();
  Reopen();
  check();
  Push();
  check();
  ASSERT_TRUE(store.Compact().ok());
  check();
  Reopen();
  check();
  EXPECT_EQ(ScanKeys("key").size(), uint64_t{kKeys} - 40);
}

TEST_F(DeepColdTest, TheNewerValueWinsWhicheverWayItWent) {
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(store.Set(Key(i), "newer").ok());
  Push();
  for (int i = 0; i < 40; ++i) ASSERT_EQ(store.Read(Key(i)), "newer") << i;
  Reopen();
  for (int i = 0; i < 40; ++i) ASSERT_EQ(store.Read(Key(i)), "newer") << i;
}

TEST_F(DeepColdTest, ConditionsSeeDeepCold) {
  const auto read = store.Get(Key(3));
  ASSERT_TRUE(read.ok() && read->has_value());
  const uint64_t version = (*read)->version;
  const auto apply = [&](Condition condition, std::optional<std::string_view> value) {
    const auto result = store.Apply({.key = "key3", .value = value, .condition = condition});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() && result->applied;
  };
  EXPECT_FALSE(apply({.kind = Kind::kIfAbsent}, "x"));
  EXPECT_FALSE(apply({.kind = Kind::kIfVersion, .version = version + 1}, "x"));
  EXPECT_TRUE(apply({.kind = Kind::kIfVersion, .version = version}, "second"));
  EXPECT_EQ(store.Read("key3"), "second");
  EXPECT_TRUE(apply({.kind = Kind::kIfPresent}, std::nullopt));
  EXPECT_EQ(store.Read("key3"), "(none)");
  EXPECT_FALSE(apply({.kind = Kind::kIfPresent}, "x"));
  EXPECT_TRUE(apply({.kind = Kind::kIfAbsent}, "third"));
  EXPECT_EQ(store.Read("key3"), "third");
  EXPECT_TRUE(store.Apply({.key = "nobody", .value = "1", .condition = {.kind = Kind::kIfAbsent}})->applied);
  EXPECT_FALSE(
      store.Apply({.key = "nobody2", .value = "1", .condition = {.kind = Kind::kIfPresent}})->applied);
}

TEST_F(DeepColdTest, AScanMeetsEveryKeyOnce) {
  const std::set<std::string> keys = ScanKeys("key");
  EXPECT_EQ(keys.size(), size_t{kKeys});
  EXPECT_EQ(ScanKeys("key14").size(), 111u);
  EXPECT_TRUE(ScanKeys("nothing").empty());
}

TEST_F(DeepColdTest, TheLastCursorStaysAtTheEnd) {
  storage::ScanRequest request = {.max_entries = 10'000};
  for (int tries = 0; tries < 3;) {
    auto page = store.Scan(request);
    ASSERT_TRUE(page.ok()) << page.status();
    request.cursor = page->cursor;
    EXPECT_TRUE(tries == 0 || page->items.empty());
    tries += page->done;
    ASSERT_TRUE(tries == 0 || page->done);
  }
}

// Whatever moves between the tiers meanwhile.
TEST_F(DeepColdTest, AScanMissesNothingThatMovesMeanwhile) {
  for (int round = 0; round < 5; ++round) {
    std::set<std::string> keys;
    storage::ScanRequest request = {.prefix = "key", .max_entries = 40};
    int step = 0;
    for (bool done = false; !done; ++step) {
      auto page = store.Scan(request);
      ASSERT_TRUE(page.ok()) << page.status();
      for (const auto& item : page->items) keys.insert(item.key);
      request.cursor = page->cursor;
      done = page->done;
      if (step > 60) continue;  // a writer that never rests could be chased for ever
      for (int i = 0; i < 30; ++i) {
        ASSERT_TRUE(store.Set(Key((step * 97 + i * 31 + round) % kKeys), ValueOf(i)).ok());
      }
      for (int i = 0; i < 5; ++i) {
        store.Advance(milliseconds(50));
        store.RunUntilIdle();
      }
    }
    ASSERT_EQ(keys.size(), size_t{kKeys}) << round;
  }
  EXPECT_GT(Stats().demoted_records, uint64_t{2} * kKeys);
}

TEST_F(DeepColdTest, WhatExpiresLeavesDeepCold) {
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(store
                    .Apply({.key = "brief" + std::to_string(i),
                            .value = "b",
                            .expires_at_ms = static_cast<uint64_t>(store.clock.NowMs()) + 1'000})
                    .ok());
  }
  Push();
  EXPECT_EQ(store.Read("brief7"), "b");
  EXPECT_EQ(ScanKeys("brief").size(), 200u);
  const uint64_t before = Stats().deep_keys;
  store.clock.Advance(2'000);
  EXPECT_EQ(store.Read("brief7"), "(none)");
  EXPECT_TRUE(ScanKeys("brief").empty());
  Settle();
  EXPECT_LT(Stats().deep_keys, before);
  ASSERT_TRUE(store.Compact().ok());
  Push();
  Settle();
  EXPECT_EQ(Stats().live_keys_max, uint64_t{kKeys} + 220);
  EXPECT_EQ(Stats().live_keys_min, uint64_t{kKeys} + 220);
}

TEST_F(DeepColdTest, LargeValuesGoThereToo) {
  const std::string large(40'000, 'L');
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(store.Set("large" + std::to_string(i), large).ok());
  Push();
  for (int i = 0; i < 30; ++i) ASSERT_EQ(store.Read("large" + std::to_string(i)), large);
}

TEST_F(DeepColdTest, ADamagedColdStoreIsReportedAndNothingIsLost) {
  ASSERT_EQ(store.Close(), absl::OkStatus());
  auto names = store.disk.List("data/cold");
  ASSERT_TRUE(names.ok());
  for (const std::string& name : *names) {
    if (name.find("MANIFEST") == std::string::npos) continue;
    auto file = store.disk.Open("data/cold/" + name, storage::FileSystem::Mode::kReadWrite);
    ASSERT_TRUE(file.ok());
    ASSERT_EQ((*file)->WriteAt(20, "damage"), absl::OkStatus());
    ASSERT_EQ((*file)->Sync(), absl::OkStatus());
  }
  const absl::Status status = store.Open();
  ASSERT_TRUE(absl::IsDataLoss(status)) << status;
}

// What is on its way when the disk is full comes neither twice nor back from the dead.
TEST_F(DeepColdTest, AFullDiskChangesNothing) {
  for (int round = 0; round < 4; ++round) {
    const std::string prefix = "full" + std::to_string(round) + ":";
    for (int i = 0; i < 200; ++i) ASSERT_TRUE(store.Set(prefix + std::to_string(i), ValueOf(i)).ok());
    store.disk.SetCapacity(store.disk.used_bytes() + static_cast<uint64_t>(round) * 30'000);
    for (int i = 0; i < 400; ++i) {
      // Whether there is room for it is of no matter.
      store.engine->Apply({.key = "more" + std::to_string(i), .value = std::string_view("m")}, [](auto) {});
      if (i % 20 == 0) {
        store.Advance(milliseconds(50));
        store.RunUntilIdle();
      }
    }
    for (int i = 0; i < 100; ++i) {
      store.engine->Apply({.key = prefix + std::to_string(i)}, [](auto) {});
    }
    Settle();
    store.disk.SetCapacity(UINT64_MAX);
    Settle();
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(store.Delete(prefix + std::to_string(i)).ok());
    Push();
    ASSERT_TRUE(store.Compact().ok());
    for (int i = 0; i < 200; ++i) {
      ASSERT_EQ(store.Read(prefix + std::to_string(i)), i < 100 ? "(none)" : ValueOf(i)) << round << " " << i;
    }
  }
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(store.Read(Key(i)), ValueOf(i));
}

// A cold store that takes no more writes until it is opened again: the log goes on without it.
TEST_F(DeepColdTest, AColdStoreThatFailsHoldsNothingUp) {
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(store.Delete(Key(i)).ok());
  ASSERT_EQ(store.Flush(), absl::OkStatus());
  // The next batch of the cold store writes a manifest: those bytes come back wrong, or the write fails.
  for (uint64_t nth = 1; nth < 12; ++nth) {
    store.disk.Fail(SimulatedDisk::Operation::kSync, nth);
    for (int i = 0; i < 250; ++i) {
      store.engine->Apply({.key = "push" + std::to_string(i), .value = std::string_view("x")}, [](auto) {});
    }
    Settle();
    store.disk.ClearFaults();
    if (!Stats().write_status.ok()) {
      // It was the log's own sync.
      store.Crash();
      ASSERT_EQ(store.Open(), absl::OkStatus());
    }
    for (int i = 0; i < 40; ++i) ASSERT_EQ(store.Read(Key(i)), "(none)") << nth << " " << i;
    for (int i = 40; i < kKeys; i += 7) ASSERT_EQ(store.Read(Key(i)), ValueOf(i)) << nth << " " << i;
  }
  Reopen();
  Settle();
  EXPECT_EQ(Stats().deep_status, absl::OkStatus());
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(store.Read(Key(i)), i < 40 ? "(none)" : ValueOf(i));
}

TEST(DeepColdOptionsTest, AnIndexThatLeavesNoRoomIsRefused) {
  auto options = SimulatedStore::DeepColdOptions();
  options.memory_bytes = 16 << 20;
  SimulatedStore store(1, options);
  const absl::Status status = store.Open();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
}

}  // namespace
}  // namespace thermocline::testing
