#include "storage/engine.h"

#include <algorithm>
#include <bit>
#include <utility>

#include <fmt/format.h>

#include "storage/engine/engine_impl.h"

namespace thermocline::storage {
namespace {

// Blocks that fit into memory: as many as the first, and as the second where blocks are large enough for all
// values.
constexpr uint32_t kBlocksInMemory = 16;
constexpr uint32_t kLargeBlocksInMemory = 32;
constexpr uint64_t kLargeBlockBytes = 2 * kMaxValueBytes;
constexpr uint32_t kMinBlocksInMemory = 4;
// Of memory, for what the index may need soon.
constexpr uint64_t kHeadroomShare = 64;

// More partitions, fewer waits for a latch; each takes 2 KiB with its first key.
int PartitionBits(uint64_t memory_bytes) {
  return std::clamp(static_cast<int>(std::bit_width(memory_bytes)) - 21, 4, 11);
}

}  // namespace

Engine::Impl::Impl(const Options& options, const World& world)
    : options_(options), world_(world), budget_(options.memory_bytes) {}

Engine::Impl::~Impl() {
  (void)Close();
  // An Open that failed half way has nothing to close, but may be copying.
  if (heat_ != nullptr) heat_->Stop();
}

absl::Status Engine::Impl::ChooseBlockBytes(uint32_t& block_bytes) const {
  if (options_.memory_bytes < kMinMemoryBytes) {
    return absl::InvalidArgumentError(fmt::format("the memory limit is {} bytes; it must be at least {}",
                                                  options_.memory_bytes, kMinMemoryBytes));
  }
  if (options_.hash_bits < 1 || options_.hash_bits > 64) {
    return absl::InvalidArgumentError(fmt::format("hash_bits is {}; it must be 1 .. 64", options_.hash_bits));
  }
  block_bytes = options_.block_bytes;
  if (block_bytes == 0) {
    uint64_t chosen = std::bit_floor(options_.memory_bytes / kBlocksInMemory);
    if (chosen > kLargeBlockBytes)
      chosen = std::max(kLargeBlockBytes, std::bit_floor(options_.memory_bytes / kLargeBlocksInMemory));
    block_bytes = static_cast<uint32_t>(std::clamp<uint64_t>(chosen, kMinBlockBytes, kMaxBlockBytes));
  }
  if (!std::has_single_bit(block_bytes) || block_bytes < kMinBlockBytes || block_bytes > kMaxBlockBytes) {
    return absl::InvalidArgumentError(
        fmt::format("the block size is {} bytes; it must be a power of two, {} .. {}", block_bytes,
                    kMinBlockBytes, kMaxBlockBytes));
  }
  return absl::OkStatus();
}

absl::Status Engine::Impl::OpenFiles() {
  uint32_t block_bytes = 0;
  if (absl::Status status = ChooseBlockBytes(block_bytes); !status.ok()) return status;
  if (absl::Status status = world_.files.CreateDirectory(options_.directory); !status.ok()) return status;
  auto lock = world_.files.Lock(options_.directory + "/" + kLockFile);
  if (!lock.ok()) return lock.status();
  lock_ = *std::move(lock);
  auto identity = OpenIdentity(options_.directory, block_bytes, world_.files, world_.random);
  if (!identity.ok()) return identity.status();
  identity_ = *identity;
  const uint64_t needed = kMinBlocksInMemory * BlockMemory::bytes_of(identity_.block_bytes) +
                          CompactionBatch::memory_bytes(identity_.block_bytes) +
                          HashIndex::initial_bytes(PartitionBits(options_.memory_bytes));
  if (options_.memory_bytes < needed) {
    return absl::InvalidArgumentError(fmt::format(
        "the memory limit is {} bytes; with the block size of {} bytes that this store has, it must be at "
        "least {}",
        options_.memory_bytes, identity_.block_bytes, needed));
  }
  return absl::OkStatus();
}

absl::Status Engine::Impl::Open() {
  const auto start = std::chrono::steady_clock::now();
  if (absl::Status status = OpenFiles(); !status.ok()) return status;
  const std::string& directory = options_.directory;
  auto clean_end = ReadCleanEnd(directory, identity_.store_id, world_.files);
  if (!clean_end.ok()) return clean_end.status();
  auto roster = ReadRoster(directory, identity_.store_id, world_.files);
  if (!roster.ok()) return roster.status();

  cold_ = std::make_unique<DeepCold>(DeepCold::Parts{.directory = directory + "/" + kColdDirectory,
                                                     .store_id = identity_.store_id,
                                                     .block_bytes = identity_.block_bytes,
                                                     .index_bytes = options_.index_bytes,
                                                     .files = world_.files,
                                                     .budget = budget_});
  if (absl::Status status = cold_->OpenIfPresent(); !status.ok()) return status;
  index_ = std::make_unique<HashIndex>(budget_, PartitionBits(options_.memory_bytes));
  cache_ = std::make_unique<RecordCache>(
      RecordCache::Collaborators{.budget = budget_,
                                 .may_grow = [this](uint64_t bytes) { return MayCacheGrow(bytes); },
                                 .wait_for_latches = [this] { index_->WaitForLatches(); }});
  heat_ = std::make_unique<Heat>(Heat::Parts{
      .index = *index_, .cache = *cache_, .executor = world_.reads, .hash_of = [this](std::string_view key) {
        return HashOf(key);
      }});
  const std::string log_directory = directory + "/" + kLogDirectory;
  Replayed replayed;
  const auto replay = [&](Position position, const DecodedRecord& decoded) {
    return Replay(position, decoded, replayed);
  };
  auto recovered = ReadLog(log_directory, identity_.store_id, identity_.block_bytes, *roster, *clean_end,
                           world_.files, budget_, replay);
  if (!recovered.ok()) return recovered.status();
  recovered_records_ = recovered->records;
  truncated_bytes_ = recovered->truncated_bytes;

  if (absl::Status status = RemoveCleanEnd(directory, world_.files); !status.ok()) return status;
  const BlockLog::Config config = {.directory = log_directory,
                                   .store_id = identity_.store_id,
                                   .block_bytes = identity_.block_bytes,
                                   .flush_interval = options_.flush_interval,
                                   .memory_headroom = headroom()};
  auto log = BlockLog::Open(config,
                            {.files = world_.files,
                             .budget = budget_,
                             .commits = world_.commits,
                             .wait_for_latches = [this] { index_->WaitForLatches(); },
                             .before_leaving =
                                 [this](std::shared_ptr<LeavingBlock> block, std::function<void()> done) {
                                   heat_->Copy(std::move(block), std::move(done));
                                 },
                             .shrink_cache = [this](uint64_t bytes) { return cache_->Shrink(bytes); }},
                            *std::move(recovered));
  if (!log.ok()) return log.status();
  log_ = *std::move(log);
  cold_->NoteDemoted(log_->Freeze());
  room_maker_.store(log_.get(), std::memory_order_release);
  if (absl::Status status = OpenCompactor(replayed, *std::move(roster)); !status.ok()) return status;
  recovery_time_ = std::chrono::steady_clock::now() - start;
  open_ = true;
  return absl::OkStatus();
}

// A record that displaced another one takes its slot; any other has a slot of its own. So the index is
// rebuilt without comparing keys, whatever tags it had when the records were written.
absl::Status Engine::Impl::Replay(Position position, const DecodedRecord& decoded, Replayed& replayed) {
  const Record& record = decoded.record;
  if (record.grave) return ReplayGrave(position, decoded, replayed);
  replayed.blocks.insert(position / identity_.block_bytes);
  const uint64_t hash = HashOf(record.key);
  HashIndex::Latch latch(*index_, hash);
  if (!latch.Reserve(position)) {
    return absl::ResourceExhaustedError(
        fmt::format("the memory limit of {} bytes is too small for the index of this store: raise --memory",
                    budget_.limit()));
  }
  std::optional<Slot> displaced;
  for (const Slot& slot : latch.Find()) {
    if (record.displaced != 0 && slot.position == record.displaced) displaced = slot;
  }
  const Slot slot = {.position = position,
                     .unresolved = record.unresolved,
                     .tombstone = record.tombstone,
                     .shadow = cold_->exists()};
  if (displaced) {
    latch.Replace(displaced->position, slot);
    if (!displaced->tombstone) ++replayed.dead_records[displaced->position / identity_.block_bytes];
  } else {
    latch.Insert(slot);
    // Another record has taken the slot of what this one superseded, and may lead to it still.
    if (record.displaced != 0 && !record.unresolved) Inter(record.displaced, replayed);
  }
  if (record.tombstone) ++replayed.dead_records[position / identity_.block_bytes];
  if (record.unresolved) counts_.Hid();
  counts_.Changed(displaced, slot);
  return absl::OkStatus();
}

absl::Status Engine::Impl::ReplayGrave(Position position, const DecodedRecord& decoded, Replayed& replayed) {
  const Position dead = decoded.record.displaced;
  const uint64_t hash = HashOfGrave(decoded.record);
  replayed.graves.push_back({dead / identity_.block_bytes, position / identity_.block_bytes, decoded.bytes});
  HashIndex::Latch latch(*index_, hash);
  for (const Slot& slot : latch.Find()) {
    if (slot.position != dead) continue;
    latch.Erase(dead);
    counts_.Changed(slot, std::nullopt);
    if (!slot.tombstone) ++replayed.dead_records[dead / identity_.block_bytes];
    break;
  }
  // A record that did not know what it displaced may have taken its slot, or may come yet, and lead to it.
  Inter(dead, replayed);
  return absl::OkStatus();
}

void Engine::Impl::Inter(Position dead, const Replayed& replayed) {
  if (replayed.blocks.contains(dead / identity_.block_bytes)) buried_.insert(dead);
}

absl::Status Engine::Impl::OpenCompactor(const Replayed& replayed, Roster roster) {
  counts_.Doubted(index_->DoubtGroups());
  for (const auto& [sequence, records] : replayed.dead_records) log_->MarkRecordsDeadIn(sequence, records);
  const auto hash_of = [this](std::string_view key) { return HashOf(key); };
  resolver_ = std::make_unique<Resolver>(Resolver::Parts{.index = *index_,
                                                         .log = *log_,
                                                         .chains = chains(),
                                                         .counts = counts_,
                                                         .graves = graves_,
                                                         .cold = *cold_,
                                                         .reads = world_.reads,
                                                         .disk = world_.disk,
                                                         .clock = world_.clock,
                                                         .gate = gate_,
                                                         .hash_of = hash_of});
  const CompactionBatch::Parts batch = {.log_directory = options_.directory + "/" + kLogDirectory,
                                        .store_id = identity_.store_id,
                                        .block_bytes = identity_.block_bytes,
                                        .files = world_.files,
                                        .clock = world_.clock,
                                        .budget = budget_,
                                        .index = *index_,
                                        .log = *log_,
                                        .cache = *cache_,
                                        .counts = counts_,
                                        .graves = graves_,
                                        .cold = *cold_,
                                        .hash_of = hash_of};
  compactor_ = std::make_unique<Compactor>(Compactor::Parts{.batch = batch,
                                                            .directory = options_.directory,
                                                            .background = world_.background,
                                                            .resolver = *resolver_,
                                                            .blind_writes = blind_writes_},
                                           std::move(roster));
  for (const auto& grave : replayed.graves) {
    if (log_->Stands(grave.dead * identity_.block_bytes)) {
      compactor_->NoteGrave(grave);
    } else {
      log_->MarkDeadIn(grave.holder, grave.bytes);
    }
  }
  return compactor_->Start();
}

absl::Status Engine::Impl::Close() {
  if (!open_) return absl::OkStatus();
  open_ = false;
  gate_.Close();
  compactor_->Stop();
  heat_->Stop();
  auto end = log_->Close();
  const absl::Status cold = cold_->Close();
  if (end.ok()) {
    // Everything is on the disk. Without the marker, on a full disk say, the next Open only takes more care.
    WriteCleanEnd(options_.directory, identity_.store_id, {end->position, end->next_version}, world_.files)
        .IgnoreError();
  }
  lock_.reset();
  return end.ok() ? cold : end.status();
}

uint64_t Engine::Impl::headroom() const {
  return std::max(options_.memory_bytes / kHeadroomShare, 4 * cache_->segment_bytes());
}

// It leaves what the index may need soon, and the blocks leave it memory as long as they have enough.
bool Engine::Impl::MayCacheGrow(uint64_t bytes) {
  if (budget_.available() >= headroom() + bytes) return true;
  BlockLog* const log = room_maker_.load(std::memory_order_acquire);
  if (log == nullptr || !log->HasMemoryToSpare()) return false;
  // What is copied before the first blocks leave needs some of it at once.
  const bool at_once = budget_.available() >= headroom() / 4 + bytes;
  log->MakeRoomFor(bytes);
  return at_once;
}

bool Engine::Impl::Enter(absl::Status& refusal) {
  if (gate_.Enter()) return true;
  refusal = absl::UnavailableError("the store is closing");
  return false;
}

void Engine::Impl::Flush(FlushDone done) {
  absl::Status refusal;
  if (!Enter(refusal)) return done(refusal);
  log_->WhenDurable([this, done = std::move(done)](absl::Status status) mutable {
    done(std::move(status));
    gate_.Leave();
  });
}

void Engine::Impl::Compact(CompactDone done) {
  absl::Status refusal;
  if (!Enter(refusal)) return done(refusal);
  compactor_->Compact(std::move(done));
  gate_.Leave();
}

uint64_t Engine::Impl::max_value_bytes(size_t key_bytes) const {
  const uint64_t record = MaxRecordBytes(identity_.block_bytes);
  const uint64_t around = MaxEncodedBytes(key_bytes, 0);
  return std::min<uint64_t>(kMaxValueBytes, record > around ? record - around : 0);
}

void Engine::Impl::FillCold(EngineStats& stats) const {
  stats.deep_share_bytes = budget_.used(MemoryBudget::Share::kCold);
  const uint64_t shadowed = counts_.shadowed_max();
  stats.live_keys_min = counts_.live_min();
  stats.live_keys_max = counts_.live_max();
  if (!gate_.Enter()) return;  // it may be closed by now
  if (const ColdStore* const store = cold_->store()) {
    const ColdStats cold = store->Stats();
    stats.deep_keys = cold.live_keys;
    stats.deep_bytes = cold.live_bytes;
    stats.deep_disk_bytes = cold.disk_bytes;
    // What moves meanwhile is in one of them.
    stats.shadowed_keys_max = std::max(shadowed, counts_.shadowed_max());
    stats.live_keys_max += cold.live_keys;
    stats.live_keys_min += cold.live_keys - std::min(cold.live_keys, stats.shadowed_keys_max);
    stats.deep_status = cold.write_status;
  }
  stats.deep_status.Update(cold_->status());
  gate_.Leave();
}

EngineStats Engine::Impl::Stats() const {
  using Share = MemoryBudget::Share;
  const BlockLog::Counters log = log_->counters();
  const auto load = [](const auto& counter) { return counter.load(std::memory_order_relaxed); };
  const Compactor::Counters compaction = compactor_->counters();
  EngineStats stats;
  stats.memory_limit = budget_.limit();
  stats.index_bytes = budget_.used(Share::kIndex);
  stats.block_bytes = budget_.used(Share::kBlocks);
  stats.chunk_table_bytes = budget_.used(Share::kChunkTables);
  stats.compaction_bytes = budget_.used(Share::kCompaction);
  stats.cache_bytes = budget_.used(Share::kCache);
  stats.cached_records = cache_->records();
  stats.blocks = log.blocks;
  stats.resident_blocks = log.resident_blocks;
  stats.disk_bytes = log.disk_bytes;
  stats.written_bytes = log.written_bytes + compaction.bytes_written;
  stats.syncs = log.syncs;
  stats.unsynced_bytes = log.unsynced_bytes;
  stats.write_status = log_->write_status();
  stats.index_slots = counts_.slots();
  stats.unresolved_slots = counts_.unresolved();
  FillCold(stats);
  stats.record_bytes = log.record_bytes;
  stats.dead_bytes = log.dead_bytes;
  stats.compacted_blocks = compaction.blocks_freed;
  stats.compacted_bytes = compaction.bytes_freed;
  stats.compaction_written_bytes = compaction.bytes_written;
  stats.compaction_moved_records = compaction.records_moved;
  stats.demoted_records = compaction.records_demoted;
  stats.compaction_dropped_records = compaction.records_dropped;
  stats.compaction_graves = compaction.graves_written;
  stats.compacting = compaction.running;
  stats.compaction_status = compaction.status;
  stats.resolved_chains = resolver_->resolved();
  stats.resolution_reads = resolver_->disk_reads();
  stats.gets = load(count_.gets);
  stats.hits_memory = load(count_.hits_memory);
  stats.hits_disk = load(count_.hits_disk);
  stats.hits_deep = load(count_.hits_deep);
  stats.promoted_records = load(count_.promoted);
  stats.misses = load(count_.misses);
  stats.disk_reads = load(count_.disk_reads);
  stats.disk_reads_by = world_.disk.name();
  stats.sets = load(count_.sets);
  stats.deletes = load(count_.deletes);
  stats.updates_in_place = load(count_.updates_in_place);
  stats.conditions_failed = load(count_.conditions_failed);
  stats.recovery_ms = std::chrono::duration_cast<std::chrono::milliseconds>(recovery_time_).count();
  stats.recovered_records = recovered_records_;
  stats.truncated_bytes = truncated_bytes_;
  return stats;
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

absl::StatusOr<std::unique_ptr<Engine>> Engine::Open(const Options& options, const World& world) {
  auto impl = std::make_unique<Impl>(options, world);
  if (absl::Status status = impl->Open(); !status.ok()) return status;
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

absl::Status Engine::Close() { return impl_->Close(); }
void Engine::Get(std::string_view key, GetDone done) { impl_->Get(key, std::move(done)); }
void Engine::Expect(std::string_view key) { impl_->Expect(key); }
void Engine::Apply(const Write& write, WriteDone done) { impl_->Apply(write, std::move(done)); }
void Engine::Flush(FlushDone done) { impl_->Flush(std::move(done)); }
void Engine::Scan(const ScanRequest& request, ScanDone done) { impl_->Scan(request, std::move(done)); }
void Engine::Compact(CompactDone done) { impl_->Compact(std::move(done)); }
EngineStats Engine::Stats() const { return impl_->Stats(); }
uint64_t Engine::max_value_bytes(size_t key_bytes) const { return impl_->max_value_bytes(key_bytes); }

}  // namespace thermocline::storage
