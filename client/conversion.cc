#include "client/conversion.h"

#include <string>

#include "fmt/format.h"

#include "client/segment_conversion.h"

namespace thermocline::conversion {
namespace {

v1::Durability ToWire(Durability durability) {
  return durability == Durability::kMemory ? v1::MEMORY : v1::SYNC;
}

void Fill(const Condition& condition, v1::Condition* wire) {
  switch (condition.kind) {
    case Condition::Kind::kNone:
      break;
    case Condition::Kind::kIfAbsent:
      wire->set_if_absent(true);
      break;
    case Condition::Kind::kIfPresent:
      wire->set_if_present(true);
      break;
    case Condition::Kind::kIfVersion:
      wire->set_if_version(condition.version);
      break;
  }
}

template <class Request>
void FillCondition(const Condition& condition, Request& request) {
  if (condition.kind != Condition::Kind::kNone) Fill(condition, request.mutable_condition());
}

ServerStats::Memory ToMemory(const v1::Memory& wire) {
  ServerStats::Memory memory{
      .limit_bytes = wire.limit_bytes(),
      .used_bytes = wire.used_bytes(),
      .shares = {},
      .resident_set_bytes = wire.resident_set_bytes(),
      .cached_records = wire.cached_records(),
  };
  for (const v1::Memory::Share& share : wire.shares())
    memory.shares.push_back({share.name(), share.used_bytes()});
  return memory;
}

ServerStats::Log ToLog(const v1::Log& wire) {
  return {
      .blocks = wire.blocks(),
      .resident_blocks = wire.resident_blocks(),
      .resident_bytes = wire.resident_bytes(),
      .disk_bytes = wire.disk_bytes(),
      .written_bytes = wire.written_bytes(),
      .syncs = wire.syncs(),
      .unsynced_bytes = wire.unsynced_bytes(),
      .accepts_writes = wire.accepts_writes(),
      .refusal = wire.refusal(),
      .record_bytes = wire.record_bytes(),
      .dead_bytes = wire.dead_bytes(),
  };
}

ServerStats::Index ToIndex(const v1::Index& wire) {
  return {
      .slots = wire.slots(),
      .unresolved_slots = wire.unresolved_slots(),
      .bytes = wire.bytes(),
      .live_keys_min = wire.live_keys_min(),
      .live_keys_max = wire.live_keys_max(),
      .resolved_chains = wire.resolved_chains(),
      .resolution_reads = wire.resolution_reads(),
  };
}

ServerStats::Operations ToOperations(const v1::Operations& wire) {
  return {
      .gets = wire.gets(),
      .hits_memory = wire.hits_memory(),
      .hits_disk = wire.hits_disk(),
      .misses = wire.misses(),
      .disk_reads = wire.disk_reads(),
      .sets = wire.sets(),
      .deletes = wire.deletes(),
      .updates_in_place = wire.updates_in_place(),
      .conditions_failed = wire.conditions_failed(),
      .hits_deep_cold = wire.hits_deep_cold(),
      .disk_reads_by = wire.disk_reads_by(),
  };
}

ServerStats::DeepCold ToDeepCold(const v1::DeepCold& wire) {
  return {
      .keys = wire.keys(),
      .bytes = wire.bytes(),
      .disk_bytes = wire.disk_bytes(),
      .shadowed_keys_max = wire.shadowed_keys_max(),
      .records_demoted = wire.records_demoted(),
      .failure = wire.failure(),
      .records_promoted = wire.records_promoted(),
  };
}

ServerStats::Recovery ToRecovery(const v1::Recovery& wire) {
  return {
      .slots_from_checkpoint = wire.slots_from_checkpoint(),
      .records_read = wire.records_read(),
      .records_warmed = wire.records_warmed(),
      .checkpoints = wire.checkpoints(),
      .checkpoint_failure = wire.checkpoint_failure(),
  };
}

ServerStats::Compaction ToCompaction(const v1::Compaction& wire) {
  return {
      .running = wire.running(),
      .blocks_freed = wire.blocks_freed(),
      .bytes_scanned = wire.bytes_scanned(),
      .bytes_written = wire.bytes_written(),
      .records_moved = wire.records_moved(),
      .records_dropped = wire.records_dropped(),
      .graves_written = wire.graves_written(),
      .failure = wire.failure(),
  };
}

ServerStats::Segments ToSegments(const v1::SegmentsStats& wire) {
  ServerStats::Segments segments{
      .memory_limit_bytes = wire.memory_limit_bytes(),
      .memory_used_bytes = wire.memory_used_bytes(),
      .segments = wire.segments(),
      .id_files = wire.id_files(),
      .id_file_bytes = wire.id_file_bytes(),
      .recent_changes = wire.recent_changes(),
      .kept_results = wire.kept_results(),
      .kept_result_bytes = wire.kept_result_bytes(),
      .kept_result_hits = wire.kept_result_hits(),
      .queries = wire.queries(),
      .queries_waiting = wire.queries_waiting(),
      .queries_refused = wire.queries_refused(),
      .changes_waiting = wire.changes_waiting(),
      .ids_returned = wire.ids_returned(),
      .blocks_read = wire.blocks_read(),
      .bytes_read = wire.bytes_read(),
      .rewrites = wire.rewrites(),
      .accepts_changes = wire.accepts_changes(),
      .refusal = wire.refusal(),
      .rewrite_failure = wire.rewrite_failure(),
      .running = {},
  };
  for (const v1::SegmentsStats::Work& work : wire.running()) {
    segments.running.push_back({.what = work.what(),
                                .started_ago = std::chrono::milliseconds(work.started_ms_ago()),
                                .progress = ToProgress(work.progress())});
  }
  return segments;
}

ServerStats::ObjectStore ToObjectStore(const v1::ObjectStoreStats& wire) {
  ServerStats::ObjectStore store{
      .url = wire.url(),
      .requests = wire.requests(),
      .retries = wire.retries(),
      .failures = wire.failures(),
      .bytes_sent = wire.bytes_sent(),
      .bytes_received = wire.bytes_received(),
      .connections = wire.connections(),
      .waiting = wire.waiting(),
      .upload_buffer_bytes = wire.upload_buffer_bytes(),
      .last_failure = wire.last_failure(),
      .seconds_since_failure = std::nullopt,
      .cache = std::nullopt,
  };
  if (wire.has_seconds_since_failure()) store.seconds_since_failure = wire.seconds_since_failure();
  if (!wire.has_cache()) return store;
  const v1::ObjectStoreStats::Cache& cache = wire.cache();
  store.cache = ServerStats::ObjectStore::Cache{
      .limit_bytes = cache.limit_bytes(),
      .disk_bytes = cache.disk_bytes(),
      .hits = cache.hits(),
      .shared = cache.shared(),
      .misses = cache.misses(),
      .evictions = cache.evictions(),
      .damaged = cache.damaged(),
      .disk_failures = cache.disk_failures(),
      .last_disk_failure = cache.last_disk_failure(),
  };
  return store;
}

}  // namespace

absl::Status CheckKey(std::string_view key) {
  if (key.empty()) return absl::InvalidArgumentError("the key is empty; a key has 1 to 65 536 bytes");
  if (key.size() > kMaxKeyBytes) {
    return absl::InvalidArgumentError(fmt::format("the key has {} bytes; the limit is 65 536", key.size()));
  }
  return absl::OkStatus();
}

absl::Status CheckValue(std::string_view key, std::string_view value) {
  if (absl::Status status = CheckKey(key); !status.ok()) return status;
  if (value.size() <= kMaxValueBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("the value has {} bytes; the limit is 16 777 216 (16 MiB)", value.size()));
}

v1::SetRequest ToSet(std::string key, std::string value, const Condition& condition,
                     std::optional<std::chrono::milliseconds> ttl, Durability durability) {
  v1::SetRequest request;
  request.set_key(std::move(key));
  request.set_value(std::move(value));
  FillCondition(condition, request);
  if (ttl.has_value()) request.set_ttl_ms(ttl->count());
  request.set_durability(ToWire(durability));
  return request;
}

v1::DeleteRequest ToDelete(std::string key, const Condition& condition, Durability durability) {
  v1::DeleteRequest request;
  request.set_key(std::move(key));
  FillCondition(condition, request);
  request.set_durability(ToWire(durability));
  return request;
}

v1::BatchWriteRequest::Write ToWrite(Write write, Durability durability) {
  v1::BatchWriteRequest::Write wire;
  if (write.value.has_value()) {
    *wire.mutable_set() =
        ToSet(std::move(write.key), *std::move(write.value), write.condition, write.ttl, durability);
  } else {
    *wire.mutable_delete_() = ToDelete(std::move(write.key), write.condition, durability);
  }
  return wire;
}

WriteResult ToResult(const v1::WriteResponse& response) {
  return {.applied = response.applied(), .version = response.version()};
}

absl::StatusOr<WriteResult> ToResult(const v1::BatchWriteResponse::Result& result) {
  if (result.has_written()) return ToResult(result.written());
  return ToStatus(result.error());
}

absl::Status ToStatus(const v1::Error& error) {
  const auto code = static_cast<absl::StatusCode>(error.code());
  // An error must not turn into a success because a server sent no code with it.
  return absl::Status(code == absl::StatusCode::kOk ? absl::StatusCode::kUnknown : code, error.message());
}

ServerStats ToStats(const v1::StatsResponse& response) {
  ServerStats stats{
      .server_version = response.server_version(),
      .uptime_ms = response.uptime_ms(),
      .recovery_ms = response.recovery_ms(),
      .memory = ToMemory(response.memory()),
      .log = ToLog(response.log()),
      .index = ToIndex(response.index()),
      .operations = ToOperations(response.operations()),
      .compaction = ToCompaction(response.compaction()),
      .deep_cold = ToDeepCold(response.deep_cold()),
      .recovery = ToRecovery(response.recovery()),
      .segments = std::nullopt,
  };
  if (response.has_segments()) stats.segments = ToSegments(response.segments());
  if (response.has_object_store()) stats.object_store = ToObjectStore(response.object_store());
  return stats;
}

CompactionReport ToReport(const v1::CompactResponse& response) {
  return {
      .blocks_freed = response.blocks_freed(),
      .bytes_scanned = response.bytes_scanned(),
      .bytes_written = response.bytes_written(),
      .records_moved = response.records_moved(),
      .records_dropped = response.records_dropped(),
      .duration_ms = response.duration_ms(),
  };
}

}  // namespace thermocline::conversion
