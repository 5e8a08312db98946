#include "storage/engine.h"

#include <algorithm>
#include <bit>
#include <utility>

#include <fmt/format.h>

#include "storage/engine/engine_impl.h"

namespace thermocline::storage {
namespace {

// Of memory, for what the index may need soon.
constexpr uint64_t kHeadroomShare = 64;

}  // namespace

Engine::Impl::Impl(const Options& options, const World& world)
    : options_(options), world_(world), budget_(options.memory_bytes) {}

Engine::Impl::~Impl() {
  (void)Close();
  // An Open that failed half way has nothing to close, but may be copying.
  if (heat_ != nullptr) heat_->Stop();
}

absl::Status Engine::Impl::Close() {
  if (!open_) return absl::OkStatus();
  open_ = false;
  gate_.Close();
  compactor_->Stop();
  heat_->Stop();
  if (warm_up_ != nullptr) warm_up_->Stop();
  auto end = log_->Close();
  const absl::Status cold = cold_->Close();
  if (end.ok()) {
    // Everything is on the disk. Without these, on a full disk say, the next Open only takes longer, and more
    // care.
    const CleanEnd clean_end = {end->position, end->next_version};
    if (cold.ok()) compactor_->Checkpoint(clean_end, TakeHotSet(*cache_, *log_)).IgnoreError();
    WriteCleanEnd(options_.directory, identity_.store_id, clean_end, world_.files).IgnoreError();
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
  stats.warmed_records = warm_up_ == nullptr ? 0 : warm_up_->records();
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
  stats.checkpoints = compaction.checkpoints;
  stats.checkpoint_status = compaction.checkpoint_status;
  if (stats.checkpoints == 0) stats.checkpoint_status.Update(checkpoint_refusal_);
  stats.recovered_slots = recovered_slots_;
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

void Engine::ExpectRecord(std::string_view key) { impl_->ExpectRecord(key); }
void Engine::Apply(const Write& write, WriteDone done) { impl_->Apply(write, std::move(done)); }
void Engine::Flush(FlushDone done) { impl_->Flush(std::move(done)); }
void Engine::Scan(const ScanRequest& request, ScanDone done) { impl_->Scan(request, std::move(done)); }
void Engine::Compact(CompactDone done) { impl_->Compact(std::move(done)); }
EngineStats Engine::Stats() const { return impl_->Stats(); }
uint64_t Engine::max_value_bytes(size_t key_bytes) const { return impl_->max_value_bytes(key_bytes); }

}  // namespace thermocline::storage
