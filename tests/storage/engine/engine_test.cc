#include "storage/engine.h"

#include <map>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/storage/engine/simulated_store.h"

namespace thermocline::testing {
namespace {

using storage::Condition;
using storage::Durability;
using ::testing::HasSubstr;

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() : store(1) { EXPECT_EQ(store.Open(), absl::OkStatus()); }

  // Writes other keys until `key`'s block has left memory.
  void MakeCold() {
    const std::string filler(16 << 10, 'f');
    for (int i = 0; i < 600; ++i) {
      ASSERT_TRUE(store.Set("filler" + std::to_string(filler_++), filler).ok());
    }
  }

  void Reopen() {
    ASSERT_EQ(store.Close(), absl::OkStatus());
    ASSERT_EQ(store.Open(), absl::OkStatus());
  }

  SimulatedStore store;

 private:
  int filler_ = 0;
};

TEST_F(EngineTest, ReadsWhatWasWritten) {
  EXPECT_EQ(store.Read("a"), "(none)");
  const auto first = store.Set("a", "1");
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(first->applied);
  EXPECT_EQ(store.Read("a"), "1");
  const auto second = store.Set("a", "longer than before");
  ASSERT_TRUE(second.ok());
  EXPECT_GT(second->version, first->version);
  const auto entry = store.Get("a");
  ASSERT_TRUE(entry.ok() && entry->has_value());
  EXPECT_EQ((*entry)->value.view(), "longer than before");
  EXPECT_EQ((*entry)->version, second->version);
  EXPECT_EQ((*entry)->expires_at_ms, 0u);
}

TEST_F(EngineTest, HoldsTheExtremesOfKeyAndValue) {
  ASSERT_EQ(store.Close(), absl::OkStatus());
  store.options = {.directory = "large", .memory_bytes = 256 << 20, .block_bytes = 32 << 20};
  ASSERT_EQ(store.Open(), absl::OkStatus());
  const std::string key(storage::kMaxKeyBytes, 'k');
  const std::string value(storage::kMaxValueBytes, 'v');
  ASSERT_TRUE(store.Set(key, value).ok());
  ASSERT_TRUE(store.Set(std::string(1, '\0'), "").ok());
  EXPECT_EQ(store.Read(key), value);
  EXPECT_EQ(store.Read(std::string(1, '\0')), "");
  Reopen();
  EXPECT_EQ(store.Read(key), value);
  EXPECT_EQ(store.Read(std::string(1, '\0')), "");
}

TEST_F(EngineTest, RefusesKeysAndValuesBeyondTheLimits) {
  EXPECT_THAT(store.Set("", "v").status().ToString(), HasSubstr("INVALID_ARGUMENT: the key is empty"));
  EXPECT_THAT(store.Read(std::string(65537, 'k')),
              HasSubstr("the key has 65537 bytes; a key has 1 to 65536"));
  EXPECT_THAT(store.Set("k", std::string(16777217, 'v')).status().ToString(), HasSubstr("at most 16777216"));
  const uint64_t most = store.engine->max_value_bytes(1);
  EXPECT_THAT(store.Set("k", std::string(most + 1, 'v')).status().ToString(),
              HasSubstr("block size of 65536 bytes"));
  EXPECT_TRUE(store.Set("k", std::string(most, 'v')).ok());
  EXPECT_EQ(store.Read("k").size(), most);
}

TEST_F(EngineTest, DeletedKeysAreGone) {
  ASSERT_TRUE(store.Set("a", "1").ok());
  ASSERT_TRUE(store.Delete("a").ok());
  EXPECT_EQ(store.Read("a"), "(none)");
  ASSERT_TRUE(store.Delete("never there").ok());
  Reopen();
  EXPECT_EQ(store.Read("a"), "(none)");
  ASSERT_TRUE(store.Set("a", "2").ok());
  EXPECT_EQ(store.Read("a"), "2");
}

TEST_F(EngineTest, ConditionsAreCheckedWithTheWrite) {
  const auto apply = [&](std::string_view value, Condition condition) {
    auto result = store.Apply({.key = "a", .value = value, .condition = condition});
    EXPECT_TRUE(result.ok());
    return *result;
  };
  using Kind = Condition::Kind;
  EXPECT_FALSE(apply("x", {Kind::kIfPresent}).applied);
  EXPECT_FALSE(apply("x", {Kind::kIfVersion, 1}).applied);
  const auto first = apply("1", {Kind::kIfAbsent});
  EXPECT_TRUE(first.applied);
  const auto refused = apply("x", {Kind::kIfAbsent});
  EXPECT_FALSE(refused.applied);
  EXPECT_EQ(refused.version, first.version);
  EXPECT_EQ(store.Read("a"), "1");
  MakeCold();
  EXPECT_FALSE(apply("x", {Kind::kIfVersion, first.version + 1}).applied);
  EXPECT_TRUE(apply("2", {Kind::kIfVersion, first.version}).applied);
  EXPECT_TRUE(apply("3", {Kind::kIfPresent}).applied);
  EXPECT_EQ(store.Read("a"), "3");
  EXPECT_TRUE(store.Apply({.key = "a", .condition = {Kind::kIfPresent}})->applied);
  EXPECT_FALSE(store.Apply({.key = "a", .condition = {Kind::kIfPresent}})->applied);
  EXPECT_EQ(store.engine->Stats().conditions_failed, 5u);
}

TEST_F(EngineTest, ExpiredValuesAreGone) {
  const uint64_t now = store.clock.NowMs();
  ASSERT_TRUE(store.Apply({.key = "a", .value = "1", .expires_at_ms = now + 1000}).ok());
  EXPECT_EQ((*store.Get("a"))->expires_at_ms, now + 1000);
  store.clock.Advance(999);
  EXPECT_EQ(store.Read("a"), "1");
  store.clock.Advance(1);
  EXPECT_EQ(store.Read("a"), "(none)");
  EXPECT_TRUE(store.Apply({.key = "a", .value = "2", .condition = {Condition::Kind::kIfAbsent}})->applied);
  store.clock.Advance(1'000'000);
  EXPECT_EQ(store.Read("a"), "2") << "a set without expiry removes an earlier one";
}

TEST_F(EngineTest, AColdGetIsOneRead) {
  ASSERT_TRUE(store.Set("a", "cold").ok());
  MakeCold();
  const uint64_t reads = store.disk.counts().reads;
  EXPECT_EQ(store.Read("a"), "cold");
  EXPECT_EQ(store.disk.counts().reads, reads + 1);
  EXPECT_EQ(store.Read("absent"), "(none)");
  EXPECT_EQ(store.disk.counts().reads, reads + 1);
  EXPECT_EQ(store.engine->Stats().hits_disk, 1u);
}

TEST_F(EngineTest, ABlindSetReadsNoDisk) {
  ASSERT_TRUE(store.Set("a", "old").ok());
  ASSERT_TRUE(store.Set("b", "old").ok());
  MakeCold();
  const uint64_t reads = store.disk.counts().reads;
  ASSERT_TRUE(store.Set("a", "new").ok());
  ASSERT_TRUE(store.Delete("b").ok());
  EXPECT_EQ(store.disk.counts().reads, reads);
  EXPECT_EQ(store.Read("a"), "new");
  EXPECT_EQ(store.Read("b"), "(none)");
  const auto stats = store.engine->Stats();
  EXPECT_EQ(stats.unresolved_slots, 2u);
  EXPECT_LE(stats.live_keys_min, 601u);
  EXPECT_GE(stats.live_keys_max, 601u);
  Reopen();
  EXPECT_EQ(store.Read("a"), "new");
  EXPECT_EQ(store.Read("b"), "(none)");
  EXPECT_EQ(store.engine->Stats().unresolved_slots, 2u);
}

TEST_F(EngineTest, UpdatesOfTheSameSizeHappenInPlace) {
  const auto set = [&](const char* value) {
    return store.Apply({.key = "a", .value = value, .durability = Durability::kMemory})->version;
  };
  const uint64_t first = set("aaaa");
  const uint64_t second = set("bbbb");
  EXPECT_GT(second, first);
  EXPECT_EQ(store.engine->Stats().updates_in_place, 1u);
  ASSERT_EQ(store.Flush(), absl::OkStatus());
  set("cccc");  // the chunk is closed now
  EXPECT_EQ(store.engine->Stats().updates_in_place, 1u);
  store.Crash();
  ASSERT_EQ(store.Open(), absl::OkStatus());
  EXPECT_EQ(store.Read("a"), "bbbb");
}

TEST_F(EngineTest, AMemoryWriteIsDurableAfterTheFlushInterval) {
  bool answered = false;
  store.engine->Apply({.key = "a", .value = "1", .durability = Durability::kMemory},
                      [&](auto) { answered = true; });
  EXPECT_TRUE(answered) << "acknowledged when readable";
  EXPECT_GT(store.engine->Stats().unsynced_bytes, 0u);
  store.Advance(store.options.flush_interval);
  store.RunUntilIdle();
  EXPECT_EQ(store.engine->Stats().unsynced_bytes, 0u);
  store.Crash();
  ASSERT_EQ(store.Open(), absl::OkStatus());
  EXPECT_EQ(store.Read("a"), "1");
}

TEST_F(EngineTest, ASyncWriteWaitsForTheDiskAndSharesIt) {
  store.RunUntilIdle();
  const uint64_t syncs = store.disk.counts().syncs;
  int answered = 0;
  for (int i = 0; i < 100; ++i) {
    store.engine->Apply({.key = "k" + std::to_string(i), .value = "v"},
                        [&](auto result) { answered += result.ok(); });
  }
  EXPECT_EQ(answered, 0);
  store.RunUntilIdle();
  EXPECT_EQ(answered, 100);
  EXPECT_EQ(store.disk.counts().syncs, syncs + 1);
}

TEST_F(EngineTest, VersionsGrowAcrossReopenAndCrash) {
  uint64_t last = store.Set("a", "1")->version;
  for (int i = 0; i < 4; ++i) {
    if (i % 2 == 0) {
      Reopen();
    } else {
      store.Apply({.key = "lost", .value = "x", .durability = Durability::kMemory}).IgnoreError();
      last = std::max(last, (*store.Get("lost"))->version);
      store.Crash();
      ASSERT_EQ(store.Open(), absl::OkStatus());
    }
    const uint64_t version = store.Set("a", "1")->version;
    EXPECT_GT(version, last);
    last = version;
  }
}

TEST_F(EngineTest, AFailedSyncRefusesWritesUntilRestart) {
  ASSERT_TRUE(store.Set("a", "1").ok());
  store.RunUntilIdle();
  store.disk.Fail(SimulatedDisk::Operation::kSync);
  const auto unknown = store.Set("a", "2");
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kUnknown) << unknown.status();
  const auto refused = store.Set("b", "1");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable) << refused.status();
  EXPECT_FALSE(store.engine->Stats().write_status.ok());
  EXPECT_EQ(store.Read("b"), "(none)");
  EXPECT_FALSE(store.Close().ok());
  ASSERT_EQ(store.Open(), absl::OkStatus());
  EXPECT_TRUE(store.Set("b", "1").ok());
}

TEST_F(EngineTest, AFullDiskRefusesWritesUntilThereIsSpace) {
  store.RunUntilIdle();
  store.disk.SetCapacity(store.disk.used_bytes() + (200 << 10));
  const std::string value(10'000, 'v');
  std::map<std::string, std::string> written;
  absl::Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) {
    const std::string key = "k" + std::to_string(i);
    status = store.Set(key, value).status();
    if (status.ok()) written[key] = value;
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_GT(written.size(), 5u);
  for (const auto& [key, expected] : written) EXPECT_EQ(store.Read(key), expected);

  store.disk.SetCapacity(UINT64_MAX);
  store.Advance(std::chrono::seconds(1));
  store.RunUntilIdle();
  EXPECT_TRUE(store.Set("after", "1").ok());
  Reopen();
  for (const auto& [key, expected] : written) EXPECT_EQ(store.Read(key), expected);
  EXPECT_EQ(store.Read("after"), "1");
}

// However long it was full: what is tried again leaves nothing behind.
TEST_F(EngineTest, ADiskThatWasFullForLongIsAsGoodAsNew) {
  store.RunUntilIdle();
  store.disk.SetCapacity(store.disk.used_bytes() + (100 << 10));
  const std::string value(10'000, 'v');
  for (int i = 0; i < 500; ++i) {
    store.Set("k" + std::to_string(i % 20), value).IgnoreError();
    store.Advance(std::chrono::milliseconds(100));
    store.RunUntilIdle();
    ASSERT_LE(store.commits.pending(), 3u);
  }
  ASSERT_FALSE(store.engine->Stats().write_status.ok());
  store.disk.SetCapacity(UINT64_MAX);
  store.Advance(std::chrono::seconds(1));
  store.RunUntilIdle();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(store.Set("k" + std::to_string(i), value).ok());
    EXPECT_EQ(store.Read("k" + std::to_string(i)), value);
  }
  EXPECT_LT(store.engine->Stats().blocks, 10u);
}

TEST_F(EngineTest, OpensOnAFullDisk) {
  ASSERT_TRUE(store.Set("a", "1").ok());
  store.RunUntilIdle();
  store.disk.SetCapacity(store.disk.used_bytes() + 4096);
  Reopen();
  EXPECT_EQ(store.Read("a"), "1");
  store.RunUntilIdle();
  store.Crash();
  store.disk.SetCapacity(store.disk.used_bytes() + 8192);
  ASSERT_EQ(store.Open(), absl::OkStatus());
  EXPECT_EQ(store.Read("a"), "1");
}

TEST_F(EngineTest, RefusesAKeyThatFitsNoBlock) {
  const std::string key(65'000, 'k');
  EXPECT_THAT(store.Set(key, "").status().ToString(),
              HasSubstr("INVALID_ARGUMENT: the key has 65000 bytes; with the block"));
  EXPECT_EQ(store.Delete(key).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store.engine->Stats().blocks, 1u);
}

TEST_F(EngineTest, MemoryIsAccountedForTheSameAfterAReopen) {
  MakeCold();
  const auto before = store.engine->Stats();
  Reopen();
  const auto after = store.engine->Stats();
  EXPECT_EQ(after.chunk_table_bytes / after.blocks, before.chunk_table_bytes / before.blocks);
}

TEST_F(EngineTest, RefusesKeysWhoseIndexDoesNotFitIntoMemory) {
  absl::Status status;
  uint64_t keys = 0;
  for (; keys < 1'000'000 && status.ok(); ++keys) {
    store.engine->Apply({.key = std::to_string(keys), .value = "", .durability = Durability::kMemory},
                        [&](auto result) { status = result.status(); });
    store.RunUntilIdle();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_GT(keys, 300'000u);
  const auto stats = store.engine->Stats();
  EXPECT_LE(stats.index_bytes + stats.block_bytes + stats.chunk_table_bytes, stats.memory_limit);
  EXPECT_LE(static_cast<double>(stats.index_bytes) / static_cast<double>(keys), 10.0);
  EXPECT_EQ(store.Read("0"), "");
  // What needs no slot of its own goes on.
  for (int i = 0; i < 2000; ++i) {
    const std::string key = std::to_string(i * 100);
    ASSERT_TRUE((i % 2 == 0 ? store.Set(key, "new") : store.Delete(key)).ok()) << key;
  }
  EXPECT_EQ(store.Read("0"), "new");
  EXPECT_EQ(store.Read("100"), "(none)");
}

TEST_F(EngineTest, MemoryStaysWithinTheLimitAndValuesStayReadable) {
  const std::string value(1000, 'v');
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(
        store.Apply({.key = std::to_string(i), .value = value, .durability = Durability::kMemory}).ok());
    const auto stats = store.engine->Stats();
    ASSERT_LE(stats.index_bytes + stats.block_bytes + stats.chunk_table_bytes, stats.memory_limit);
  }
  for (int i = 0; i < 20'000; i += 97) EXPECT_EQ(store.Read(std::to_string(i)), value);
  EXPECT_LT(store.engine->Stats().resident_blocks, store.engine->Stats().blocks / 3);
}

TEST_F(EngineTest, APinnedValueOutlivesItsBlock) {
  const std::string value(5000, 'p');
  ASSERT_TRUE(store.Set("a", value).ok());
  auto entry = store.Get("a");
  ASSERT_TRUE((*entry)->value.pinned());
  MakeCold();
  EXPECT_EQ((*entry)->value.view(), value);
}

TEST_F(EngineTest, ScansEveryLiveKeyOnce) {
  std::map<std::string, std::string> expected;
  for (int i = 0; i < 3000; ++i) {
    const std::string key = (i % 3 == 0 ? "even:" : "odd:") + std::to_string(i);
    expected[key] = std::string(100, static_cast<char>('a' + i % 26));
    ASSERT_TRUE(store.Apply({.key = key, .value = expected[key], .durability = Durability::kMemory}).ok());
  }
  for (int i = 0; i < 3000; i += 5) {
    const std::string key = (i % 3 == 0 ? "even:" : "odd:") + std::to_string(i);
    expected.erase(key);
    ASSERT_TRUE(store.Apply({.key = key, .durability = Durability::kMemory}).ok());
  }
  for (const std::string prefix : {"", "even:"}) {
    std::map<std::string, std::string> found;
    storage::ScanRequest request = {.prefix = prefix, .max_entries = 100};
    for (bool done = false; !done;) {
      auto page = store.Scan(request);
      ASSERT_TRUE(page.ok()) << page.status();
      EXPECT_LE(page->items.size(), 100u);
      for (auto& item : page->items) {
        EXPECT_TRUE(found.emplace(item.key, item.entry.value.view()).second) << item.key << " came twice";
      }
      request.cursor = page->cursor;
      done = page->done;
      if (found.size() == 500) Reopen();  // cursors survive
    }
    std::map<std::string, std::string> wanted = expected;
    std::erase_if(wanted, [&](const auto& entry) { return !entry.first.starts_with(prefix); });
    EXPECT_EQ(found, wanted);
  }
}

TEST_F(EngineTest, AScanMeetsKeysThatAreWrittenMeanwhile) {
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(store.Set("k" + std::to_string(i), "old").ok());
  std::set<std::string> found;
  storage::ScanRequest request = {.max_entries = 10};
  int round = 0;
  for (bool done = false; !done;) {
    auto page = store.Scan(request);
    ASSERT_TRUE(page.ok());
    for (auto& item : page->items) found.insert(item.key);
    request.cursor = page->cursor;
    done = page->done;
    ++round;
    for (int i = 0; i < 200; ++i)
      ASSERT_TRUE(store.Set("k" + std::to_string(i), "round " + std::to_string(round)).ok());
  }
  EXPECT_EQ(found.size(), 200u);
}

TEST_F(EngineTest, RefusesACursorThatIsNotOne) {
  for (std::string cursor : {std::string("x"), std::string(32, 'x')}) {
    EXPECT_EQ(store.Scan({.cursor = cursor}).status().code(), absl::StatusCode::kInvalidArgument);
  }
  ASSERT_TRUE(store.Set("a", "1").ok());
  std::string cursor = store.Scan({})->cursor;
  cursor[3] ^= 1;
  EXPECT_EQ(store.Scan({.cursor = cursor}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(EngineTest, ADirectoryHasOneEngine) {
  SimulatedStore other(2);
  storage::World world{store.disk,       store.clock,   store.random,    store.reads,
                       store.disk_reads, store.commits, store.background};
  const auto second = storage::Engine::Open(store.options, world);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition) << second.status();
}

TEST_F(EngineTest, RefusesOptionsThatCannotWork) {
  ASSERT_EQ(store.Close(), absl::OkStatus());
  const auto open_with = [&](storage::Options options) {
    store.options = options;
    return store.Open();
  };
  EXPECT_THAT(open_with({.directory = "data", .memory_bytes = 1 << 20}).ToString(),
              HasSubstr("at least 4194304"));
  EXPECT_THAT(open_with({.directory = "new", .memory_bytes = 4 << 20, .block_bytes = 100'000}).ToString(),
              HasSubstr("power of two"));
  EXPECT_THAT(open_with({.directory = "new", .memory_bytes = 4 << 20, .block_bytes = 4 << 20}).ToString(),
              HasSubstr("INVALID_ARGUMENT: the memory limit is 4194304 bytes; with the block size"));
}

TEST_F(EngineTest, RefusesOperationsWhenClosed) {
  ASSERT_EQ(store.engine->Close(), absl::OkStatus());
  EXPECT_EQ(store.Set("a", "1").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store.Get("a").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store.Flush().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace thermocline::testing
