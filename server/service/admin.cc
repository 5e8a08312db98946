#include "server/service/admin.h"

#include <cstdint>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>

#include "server/heap.h"
#include "server/service/segment_requests.h"

namespace thermocline::server {
namespace {

// `segments` may be nullptr.
void FillMemory(const storage::EngineStats& stats, const storage::SegmentsStats* segments,
                const SegmentObjects* objects, v1::Memory& memory) {
  const auto add_share = [&memory](const char* name, uint64_t used_bytes) {
    v1::Memory::Share& share = *memory.add_shares();
    share.set_name(name);
    share.set_used_bytes(used_bytes);
    memory.set_used_bytes(memory.used_bytes() + used_bytes);
  };
  memory.set_limit_bytes(stats.memory_limit);
  add_share("index", stats.index_bytes);
  add_share("blocks", stats.block_bytes);
  add_share("chunk tables", stats.chunk_table_bytes);
  add_share("compaction", stats.compaction_bytes);
  add_share("deep cold", stats.deep_share_bytes);
  add_share("cache", stats.cache_bytes);
  if (segments != nullptr) {
    memory.set_limit_bytes(stats.memory_limit + segments->memory_limit);
    add_share("segments", segments->memory_used);
  }
  if (objects != nullptr && objects->memory_bytes() > 0) {
    memory.set_limit_bytes(memory.limit_bytes() + objects->memory_bytes());
    add_share("objects", objects->memory_used());
  }
  memory.set_resident_set_bytes(ReadResidentMemory().total_bytes);
  memory.set_cached_records(stats.cached_records);
}

void FillLog(const storage::EngineStats& stats, v1::Log& log) {
  log.set_blocks(stats.blocks);
  log.set_resident_blocks(stats.resident_blocks);
  log.set_resident_bytes(stats.block_bytes);
  log.set_disk_bytes(stats.disk_bytes);
  log.set_written_bytes(stats.written_bytes);
  log.set_syncs(stats.syncs);
  log.set_unsynced_bytes(stats.unsynced_bytes);
  log.set_accepts_writes(stats.write_status.ok());
  log.set_refusal(std::string(stats.write_status.message()));
  log.set_record_bytes(stats.record_bytes);
  log.set_dead_bytes(stats.dead_bytes);
}

void FillIndex(const storage::EngineStats& stats, v1::Index& index) {
  index.set_slots(stats.index_slots);
  index.set_unresolved_slots(stats.unresolved_slots);
  index.set_bytes(stats.index_bytes);
  index.set_live_keys_min(stats.live_keys_min);
  index.set_live_keys_max(stats.live_keys_max);
  index.set_resolved_chains(stats.resolved_chains);
  index.set_resolution_reads(stats.resolution_reads);
}

void FillCompaction(const storage::EngineStats& stats, v1::Compaction& compaction) {
  compaction.set_running(stats.compacting);
  compaction.set_blocks_freed(stats.compacted_blocks);
  compaction.set_bytes_scanned(stats.compacted_bytes);
  compaction.set_bytes_written(stats.compaction_written_bytes);
  compaction.set_records_moved(stats.compaction_moved_records);
  compaction.set_records_dropped(stats.compaction_dropped_records);
  compaction.set_graves_written(stats.compaction_graves);
  if (!stats.compaction_status.ok()) compaction.set_failure(stats.compaction_status.ToString());
}

void FillDeepCold(const storage::EngineStats& stats, v1::DeepCold& deep_cold) {
  deep_cold.set_keys(stats.deep_keys);
  deep_cold.set_bytes(stats.deep_bytes);
  deep_cold.set_disk_bytes(stats.deep_disk_bytes);
  deep_cold.set_shadowed_keys_max(stats.shadowed_keys_max);
  deep_cold.set_records_demoted(stats.demoted_records);
  deep_cold.set_records_promoted(stats.promoted_records);
  if (!stats.deep_status.ok()) deep_cold.set_failure(stats.deep_status.ToString());
}

void FillRecovery(const storage::EngineStats& stats, v1::Recovery& recovery) {
  recovery.set_slots_from_checkpoint(stats.recovered_slots);
  recovery.set_records_read(stats.recovered_records);
  recovery.set_records_warmed(stats.warmed_records);
  recovery.set_checkpoints(stats.checkpoints);
  if (!stats.checkpoint_status.ok()) recovery.set_checkpoint_failure(stats.checkpoint_status.ToString());
}

void FillOperations(const storage::EngineStats& stats, v1::Operations& operations) {
  operations.set_gets(stats.gets);
  operations.set_hits_memory(stats.hits_memory);
  operations.set_hits_disk(stats.hits_disk);
  operations.set_misses(stats.misses);
  operations.set_disk_reads(stats.disk_reads);
  operations.set_sets(stats.sets);
  operations.set_deletes(stats.deletes);
  operations.set_updates_in_place(stats.updates_in_place);
  operations.set_conditions_failed(stats.conditions_failed);
  operations.set_hits_deep_cold(stats.hits_deep);
  operations.set_disk_reads_by(std::string(stats.disk_reads_by));
}

void FillSegments(const storage::SegmentsStats& stats, v1::SegmentsStats& segments) {
  segments.set_memory_limit_bytes(stats.memory_limit);
  segments.set_memory_used_bytes(stats.memory_used);
  segments.set_segments(stats.segments);
  segments.set_id_files(stats.id_files);
  segments.set_id_file_bytes(stats.id_file_bytes);
  segments.set_recent_changes(stats.recent_changes);
  segments.set_kept_results(stats.kept_results);
  segments.set_kept_result_bytes(stats.kept_result_bytes);
  segments.set_kept_result_hits(stats.kept_result_hits);
  segments.set_queries(stats.queries);
  segments.set_queries_waiting(stats.queries_waiting);
  segments.set_queries_refused(stats.queries_refused);
  segments.set_changes_waiting(stats.changes_waiting);
  segments.set_ids_returned(stats.ids_returned);
  segments.set_blocks_read(stats.blocks_read);
  segments.set_bytes_read(stats.bytes_read);
  segments.set_rewrites(stats.rewrites);
  segments.set_accepts_changes(stats.write_status.ok());
  segments.set_refusal(std::string(stats.write_status.message()));
  if (!stats.rewrite_status.ok()) segments.set_rewrite_failure(stats.rewrite_status.ToString());
  for (const storage::SegmentWork& running : stats.running) {
    v1::SegmentsStats::Work& work = *segments.add_running();
    work.set_what(running.what);
    work.set_started_ms_ago(running.started_ms_ago);
    FillProgress(running.progress, *work.mutable_progress());
  }
}

void FillObjectStore(const SegmentObjects& objects, v1::ObjectStoreStats& stats) {
  const storage::S3Stats s3 = objects.s3()->stats();
  stats.set_url(objects.url());
  stats.set_requests(s3.requests);
  stats.set_retries(s3.retries);
  stats.set_failures(s3.failures);
  stats.set_bytes_sent(s3.bytes_sent);
  stats.set_bytes_received(s3.bytes_received);
  stats.set_connections(s3.connections);
  stats.set_waiting(s3.waiting);
  stats.set_upload_buffer_bytes(s3.buffer_bytes);
  stats.set_last_failure(s3.last_failure);
  if (s3.seconds_since_failure.has_value()) stats.set_seconds_since_failure(*s3.seconds_since_failure);
  if (objects.cache() == nullptr) return;
  const storage::CachedStoreStats cache = objects.cache()->stats();
  v1::ObjectStoreStats::Cache& to = *stats.mutable_cache();
  to.set_limit_bytes(objects.cache_bytes());
  to.set_disk_bytes(cache.disk_bytes);
  to.set_hits(cache.hits);
  to.set_shared(cache.shared);
  to.set_misses(cache.misses);
  to.set_evictions(cache.evictions);
  to.set_damaged(cache.rotten);
  to.set_disk_failures(cache.disk_failures);
  to.set_last_disk_failure(cache.last_disk_failure);
}

}  // namespace

void AdminService::Stats(const v1::StatsRequest&, v1::StatsResponse* response) {
  const storage::EngineStats stats = engine_.Stats();
  std::optional<storage::SegmentsStats> segments;
  if (segments_ != nullptr) {
    segments = segments_->Stats();
    FillSegments(*segments, *response->mutable_segments());
  }
  FillMemory(stats, segments ? &*segments : nullptr, objects_, *response->mutable_memory());
  if (objects_ != nullptr && objects_->s3() != nullptr)
    FillObjectStore(*objects_, *response->mutable_object_store());
  FillLog(stats, *response->mutable_log());
  FillIndex(stats, *response->mutable_index());
  FillOperations(stats, *response->mutable_operations());
  FillCompaction(stats, *response->mutable_compaction());
  FillDeepCold(stats, *response->mutable_deep_cold());
  FillRecovery(stats, *response->mutable_recovery());
  response->set_server_version(THERMOCLINE_VERSION);
  const auto uptime = std::chrono::steady_clock::now() - started_;
  response->set_uptime_ms(std::chrono::duration_cast<std::chrono::milliseconds>(uptime).count());
  response->set_recovery_ms(stats.recovery_ms);
}

void AdminService::Flush(const v1::FlushRequest&, absl::AnyInvocable<void(absl::Status)> done) {
  engine_.Flush(std::move(done));
}

void AdminService::Compact(const v1::CompactRequest&, CompactDone done) {
  engine_.Compact([done = std::move(done)](const absl::StatusOr<storage::CompactionReport>& report) mutable {
    if (!report.ok()) return done(report.status());
    v1::CompactResponse response;
    response.set_blocks_freed(report->blocks_freed);
    response.set_bytes_scanned(report->bytes_scanned);
    response.set_bytes_written(report->bytes_written);
    response.set_records_moved(report->records_moved);
    response.set_records_dropped(report->records_dropped);
    response.set_duration_ms(report->duration_ms);
    done(std::move(response));
  });
}

}  // namespace thermocline::server
