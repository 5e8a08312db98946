// A start that reads all blocks comes to the same with any number of threads: the next checkpoint is the
// same, byte by byte. It tells all slots of the index, what is dead in each block, and which graves there
// are.

#include <vector>

#include "gtest/gtest.h"

#include "storage/engine/checkpoint.h"
#include "storage/engine/store_files.h"
#include "tests/storage/engine/simulated_store.h"

namespace thermocline::testing {
namespace {

constexpr char kCheckpoint[] = "data/CHECKPOINT";

// Every third seed with deep cold, every other one with keys that collide.
storage::Options OptionsFor(uint64_t seed) {
  storage::Options options =
      seed % 3 == 0 ? SimulatedStore::DeepColdOptions() : SimulatedStore::SmallOptions();
  if (seed % 3 == 0) options.index_bytes = 8 << 10;  // half of the keys
  if (seed % 2 == 0) options.hash_bits = 7;
  options.recovery_threads = 1;
  return options;
}

void WriteSomething(SimulatedStore& store, uint64_t writes) {
  const uint64_t sizes[] = {0, 10, 30, 60, 300, 4000};
  const auto below = [&](uint64_t bound) { return store.random.Next() % bound; };
  for (uint64_t i = 0; i < writes; ++i) {
    const std::string key = "key" + std::to_string(below(1500));
    const std::string value(sizes[below(6)], static_cast<char>('a' + i % 26));
    storage::Write write = {.key = key, .durability = storage::Durability::kMemory};
    if (below(5) != 0) write.value = value;
    if (write.value && below(10) == 0) write.expires_at_ms = store.clock.NowMs() + 1 + below(5000);
    ASSERT_TRUE(store.Apply(write).ok());
    if (below(20) == 0) store.Advance(std::chrono::milliseconds(100));
    if (below(3) == 0) store.RunOne();
    if (i % 3000 == 2000) {
      ASSERT_TRUE(store.Compact().ok());
    }
  }
}

// What a checkpoint says, in an order of its own.
struct Said {
  std::vector<std::tuple<uint64_t, uint64_t, bool, bool, bool>> slots;
  std::vector<std::tuple<uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, std::string>> blocks;
  std::vector<std::pair<size_t, int>> shapes;
  std::vector<std::pair<uint64_t, uint64_t>> graves;
  std::vector<std::tuple<uint64_t, uint64_t, uint64_t>> grave_notes;
  std::vector<uint64_t> buried;
  std::vector<uint64_t> owed;
  uint64_t hidden = 0;

  bool operator==(const Said&) const = default;
};

Said CheckpointOf(SimulatedStore& store) {
  Said said;
  const size_t partitions = store.options.memory_bytes > 32 << 20 ? 32 : 16;
  const auto identity = storage::OpenIdentity("data", store.options.block_bytes, store.disk, store.random);
  EXPECT_TRUE(identity.ok()) << identity.status();
  const auto reader = storage::CheckpointReader::Open("data", *identity, partitions, store.disk);
  EXPECT_TRUE(reader.ok()) << reader.status();
  if (!reader.ok()) return said;
  const auto take_slots = [&](size_t, std::span<const storage::HashIndex::Entry> entries) {
    for (const auto& [hash, slot] : entries)
      said.slots.emplace_back(hash, slot.position, slot.unresolved, slot.tombstone, slot.shadow);
    return absl::OkStatus();
  };
  EXPECT_EQ((*reader)->ReadSlots(0, partitions, take_slots), absl::OkStatus());
  const auto take_block = [&](std::unique_ptr<storage::Block> block) {
    said.blocks.emplace_back(block->sequence, block->used, block->dead_bytes.load(), block->use.records,
                             block->use.expiring_bytes, block->chunks.raw());
    return absl::OkStatus();
  };
  EXPECT_EQ((*reader)->ReadBlocks("data/log", take_block), absl::OkStatus());
  const storage::CheckpointState& state = (*reader)->state();
  said.hidden = state.hidden;
  for (const auto& shape : state.shapes) said.shapes.emplace_back(shape.slots, shape.known_bits);
  for (const auto& grave : state.graves) said.graves.emplace_back(grave.hash, grave.dead);
  for (const auto& note : state.grave_notes)
    said.grave_notes.emplace_back(note.dead, note.holder, note.bytes);
  said.buried = state.buried;
  said.owed = state.owed;
  std::sort(said.graves.begin(), said.graves.end());
  std::sort(said.grave_notes.begin(), said.grave_notes.end());
  std::sort(said.buried.begin(), said.buried.end());
  return said;
}

struct Start {
  Said said;  // by a close right after it
  storage::EngineStats stats;
};

// Of a store with these files.
Start StartWith(uint64_t seed, const std::vector<std::pair<std::string, std::string>>& files, int threads) {
  SimulatedStore store(seed, OptionsFor(seed));
  store.options.recovery_threads = threads;
  EXPECT_EQ(store.disk.CreateDirectory("data/log"), absl::OkStatus());
  EXPECT_EQ(store.disk.CreateDirectory("data/cold"), absl::OkStatus());
  for (const auto& [path, bytes] : files) store.disk.SetContents(path, bytes);
  const absl::Status status = store.Open();
  EXPECT_EQ(status, absl::OkStatus());
  if (!status.ok()) return {};
  const storage::EngineStats stats = store.engine->Stats();
  EXPECT_EQ(stats.checkpoint_status, absl::OkStatus());
  EXPECT_EQ(store.CloseAtOnce(), absl::OkStatus());
  return {.said = CheckpointOf(store), .stats = stats};
}

class RecoveryTest : public ::testing::TestWithParam<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, RecoveryTest, ::testing::Range<uint64_t>(1, 9));

TEST_P(RecoveryTest, AnyNumberOfThreadsComesToTheSame) {
  SimulatedStore store(GetParam(), OptionsFor(GetParam()));
  store.options.checkpoint_log_bytes = uint64_t{8} * store.options.block_bytes;
  ASSERT_EQ(store.Open(), absl::OkStatus());
  WriteSomething(store, 9000);
  ASSERT_EQ(store.Flush(), absl::OkStatus());
  store.Crash();
  // From a checkpoint and what came later, and from blocks alone.
  for (const bool with_checkpoint : {true, false}) {
    if (!with_checkpoint) {
      ASSERT_EQ(store.disk.Remove(kCheckpoint), absl::OkStatus());
    }
    std::vector<std::pair<std::string, std::string>> files;
    for (const std::string& path : store.disk.Paths()) files.emplace_back(path, *store.disk.Contents(path));
    const Start alone = StartWith(GetParam(), files, 1);
    ASSERT_FALSE(alone.said.slots.empty());
    ASSERT_EQ(alone.stats.recovered_slots > 0, with_checkpoint);
    ASSERT_GT(alone.stats.recovered_records, 0u);
    for (const int threads : {2, 3, 5}) {
      const Start together = StartWith(GetParam(), files, threads);
      ASSERT_EQ(together.stats.index_slots, alone.stats.index_slots);
      ASSERT_EQ(together.stats.unresolved_slots, alone.stats.unresolved_slots);
      ASSERT_EQ(together.stats.live_keys_min, alone.stats.live_keys_min);
      ASSERT_EQ(together.stats.live_keys_max, alone.stats.live_keys_max);
      ASSERT_EQ(together.stats.shadowed_keys_max, alone.stats.shadowed_keys_max);
      ASSERT_EQ(together.stats.record_bytes, alone.stats.record_bytes);
      ASSERT_EQ(together.stats.dead_bytes, alone.stats.dead_bytes);
      ASSERT_EQ(together.stats.index_bytes, alone.stats.index_bytes);
      ASSERT_EQ(together.stats.resident_blocks, alone.stats.resident_blocks);
      ASSERT_EQ(together.stats.recovered_records, alone.stats.recovered_records);
      ASSERT_TRUE(together.said == alone.said) << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace thermocline::testing
