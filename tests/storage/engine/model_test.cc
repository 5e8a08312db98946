// Random operations against std::map, with reopening in between.

#include <cstdlib>
#include <iterator>
#include <map>

#include "gtest/gtest.h"

#include "tests/storage/engine/simulated_store.h"

namespace thermocline::testing {
namespace {

using storage::Condition;
using storage::Durability;

struct Known {
  std::string value;
  uint64_t version = 0;
  uint64_t expires_at_ms = 0;
};

// Every third seed with an index for half the keys, so that the others are in deep cold.
bool HasDeepCold(uint64_t seed) { return seed % 3 == 0; }

// Every other seed with so few bits of the hash that keys collide all the time.
storage::Options OptionsFor(uint64_t seed) {
  storage::Options options =
      HasDeepCold(seed) ? SimulatedStore::DeepColdOptions() : SimulatedStore::SmallOptions();
  if (seed % 2 == 0) options.hash_bits = 6;
  if (seed % 4 < 2) options.checkpoint_log_bytes = 4 * options.block_bytes;
  return options;
}

class ModelTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  ModelTest() : store(GetParam(), OptionsFor(GetParam())) { EXPECT_EQ(store.Open(), absl::OkStatus()); }

  uint64_t Below(uint64_t bound) { return store.random.Next() % bound; }
  std::string AnyKey() {
    const uint64_t key = Below(400);
    return std::to_string(key) + std::string(key % 7 == 0 ? 300 : 0, 'k');
  }
  std::string AnyValue() {
    const uint64_t sizes[] = {0, 10, 10, 10, 60, 700, 5000, 30'000};
    return std::string(sizes[Below(8)], static_cast<char>('a' + Below(26)));
  }
  const Known* Live(const std::string& key) {
    const auto known = model.find(key);
    if (known == model.end()) return nullptr;
    const uint64_t expires = known->second.expires_at_ms;
    return expires != 0 && expires <= store.clock.NowMs() ? nullptr : &known->second;
  }

  void CheckGet(const std::string& key) {
    const auto entry = store.Get(key);
    ASSERT_TRUE(entry.ok()) << entry.status();
    const Known* known = Live(key);
    ASSERT_EQ(entry->has_value(), known != nullptr) << key;
    if (known == nullptr) return;
    ASSERT_EQ((*entry)->value.view(), known->value) << key;
    ASSERT_EQ((*entry)->version, known->version) << key;
    ASSERT_EQ((*entry)->expires_at_ms, known->expires_at_ms) << key;
  }

  void RandomWrite() {
    const std::string key = AnyKey();
    const std::string value = AnyValue();
    const Known* known = Live(key);
    storage::Write write = {.key = key,
                            .durability = Below(4) == 0 ? Durability::kSync : Durability::kMemory};
    if (Below(5) != 0) write.value = value;
    if (write.value && Below(8) == 0) write.expires_at_ms = store.clock.NowMs() + 1 + Below(2000);
    bool expected = true;
    if (Below(3) == 0) {
      write.condition.kind = static_cast<Condition::Kind>(Below(4));
      write.condition.version = known != nullptr && Below(3) != 0 ? known->version : Below(1000);
      using Kind = Condition::Kind;
      const Kind kind = write.condition.kind;
      expected = kind == Kind::kNone || (kind == Kind::kIfAbsent && known == nullptr) ||
                 (kind == Kind::kIfPresent && known != nullptr) ||
                 (kind == Kind::kIfVersion && known != nullptr && known->version == write.condition.version);
    }
    const auto result = store.Apply(write);
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->applied, expected);
    if (!expected) {
      ASSERT_EQ(result->version, known == nullptr ? 0 : known->version);
      return;
    }
    ASSERT_GT(result->version, last_version);
    last_version = result->version;
    if (write.value) {
      model[key] = {value, result->version, write.expires_at_ms};
    } else {
      model.erase(key);
    }
  }

  void CheckAll() {
    for (int i = 0; i < 400; ++i) CheckGet(std::to_string(i) + std::string(i % 7 == 0 ? 300 : 0, 'k'));
    std::map<std::string, uint64_t> scanned;
    storage::ScanRequest request = {.max_entries = 1 + Below(100)};
    for (bool done = false; !done;) {
      auto page = store.Scan(request);
      ASSERT_TRUE(page.ok()) << page.status();
      for (auto& item : page->items) {
        // Met twice if compaction moved it meanwhile.
        const auto known_item = scanned.emplace(item.key, item.entry.version).first;
        ASSERT_EQ(known_item->second, item.entry.version);
        const Known* known = Live(item.key);
        ASSERT_TRUE(known != nullptr && known->value == item.entry.value.view()) << item.key;
      }
      request.cursor = page->cursor;
      done = page->done;
    }
    size_t live = 0;
    for (const auto& [key, known] : model) live += Live(key) != nullptr;
    ASSERT_EQ(scanned.size(), live);
    const auto stats = store.engine->Stats();
    ASSERT_LE(stats.live_keys_min, model.size());
    // Compaction may have reclaimed what has expired, or not.
    ASSERT_GE(stats.live_keys_max, live);
  }

  // When there is nothing left to do in the background.
  void CheckExactCounts() {
    while (store.engine->Stats().unresolved_slots != 0 || store.engine->Stats().shadowed_keys_max != 0) {
      store.Advance(std::chrono::milliseconds(100));
      store.RunUntilIdle();
    }
    store.clock.Advance(10'000);
    for (auto known = model.begin(); known != model.end();) {
      const uint64_t expires = known->second.expires_at_ms;
      known = expires != 0 ? model.erase(known) : std::next(known);
    }
    const auto report = store.Compact();
    ASSERT_TRUE(report.ok()) << report.status();
    const auto stats = store.engine->Stats();
    ASSERT_EQ(stats.live_keys_min, stats.live_keys_max);
    // What has expired and stands in the open block waits for another time.
    ASSERT_GE(stats.live_keys_min, model.size());
  }

  SimulatedStore store;
  std::map<std::string, Known> model;
  uint64_t compacted = 0;
  uint64_t checkpoints = 0;
  uint64_t demoted = 0;
  uint64_t deep_hits = 0;
  uint64_t cached = 0;
  uint64_t last_version = 0;
};

TEST_P(ModelTest, BehavesLikeAMap) {
  for (int round = 0; round < 12 && !HasFatalFailure(); ++round) {
    for (int step = 0; step < 500 && !HasFatalFailure(); ++step) {
      Below(3) == 0 ? CheckGet(AnyKey()) : RandomWrite();
      store.clock.Advance(static_cast<int64_t>(Below(5)));
      if (Below(50) == 0) store.Advance(std::chrono::milliseconds(100));
      if (Below(4) == 0) store.RunOne();
      if (Below(400) == 0)
        store.engine->Compact([](const auto& report) {
          // The store may be closed, or crash, before it is over.
          ASSERT_TRUE(report.ok() || absl::IsUnavailable(report.status())) << report.status();
        });
    }
    CheckAll();
    compacted += store.engine->Stats().compacted_blocks;
    checkpoints += store.engine->Stats().checkpoints;
    demoted += store.engine->Stats().demoted_records;
    deep_hits += store.engine->Stats().hits_deep;
    cached += store.engine->Stats().cached_records;
    if (round % 3 == 1) {
      ASSERT_EQ(Below(2) == 0 ? store.Close() : store.CloseAtOnce(), absl::OkStatus());
      if (Below(4) == 0) store.disk.Remove("data/CHECKPOINT").IgnoreError();
      // Other sizes keep other blocks in memory, so other slots can be compared.
      store.options.memory_bytes = OptionsFor(GetParam()).memory_bytes + (uint64_t{12 * Below(2)} << 20);
      ASSERT_EQ(store.Open(), absl::OkStatus());
      CheckAll();
    }
    if (round % 3 == 2) {
      ASSERT_EQ(store.Flush(), absl::OkStatus());
      store.Crash();
      ASSERT_EQ(store.Open(), absl::OkStatus());
      ASSERT_EQ(store.engine->Stats().checkpoint_status, absl::OkStatus());
      CheckAll();
    }
  }
  EXPECT_GT(compacted, 0u);
  EXPECT_EQ(checkpoints > 0, store.options.checkpoint_log_bytes != 0);
  EXPECT_EQ(demoted > 0, HasDeepCold(GetParam()));
  EXPECT_EQ(deep_hits > 0, HasDeepCold(GetParam()));
  EXPECT_GT(cached, 0u);
  ASSERT_TRUE(store.Compact().ok());
  CheckAll();
  CheckExactCounts();
}

// THERMOCLINE_MODEL_RUNS asks for more of them.
uint64_t Runs() {
  const char* const runs = std::getenv("THERMOCLINE_MODEL_RUNS");
  return runs != nullptr ? std::strtoull(runs, nullptr, 10) : 16;
}

INSTANTIATE_TEST_SUITE_P(Seeds, ModelTest, ::testing::Range<uint64_t>(1, 1 + Runs()));

}  // namespace
}  // namespace thermocline::testing
