#include <chrono>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "client/cli/commands.h"
#include "client/cli/segment_text.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

using nlohmann::ordered_json;

constexpr size_t kShownWorkBytes = 100;

// The names in JSON are those of proto/thermocline/v1/admin.proto, here and below.
ordered_json ToJson(const ServerStats::Segments& segments) {
  ordered_json running = ordered_json::array();
  for (const auto& [what, started_ago, progress] : segments.running) {
    running.push_back(
        {{"what", what}, {"started_ms_ago", started_ago.count()}, {"progress", cli::ToJson(progress)}});
  }
  return {
      {"memory_limit_bytes", segments.memory_limit_bytes},
      {"memory_used_bytes", segments.memory_used_bytes},
      {"segments", segments.segments},
      {"id_files", segments.id_files},
      {"id_file_bytes", segments.id_file_bytes},
      {"recent_changes", segments.recent_changes},
      {"kept_results", segments.kept_results},
      {"kept_result_bytes", segments.kept_result_bytes},
      {"kept_result_hits", segments.kept_result_hits},
      {"queries", segments.queries},
      {"queries_waiting", segments.queries_waiting},
      {"queries_refused", segments.queries_refused},
      {"changes_waiting", segments.changes_waiting},
      {"ids_returned", segments.ids_returned},
      {"blocks_read", segments.blocks_read},
      {"bytes_read", segments.bytes_read},
      {"rewrites", segments.rewrites},
      {"accepts_changes", segments.accepts_changes},
      {"refusal", segments.refusal},
      {"rewrite_failure", segments.rewrite_failure},
      {"running", running},
  };
}

ordered_json ToJson(const ServerStats::ObjectStore& store) {
  ordered_json json = {
      {"url", store.url},
      {"requests", store.requests},
      {"retries", store.retries},
      {"failures", store.failures},
      {"bytes_sent", store.bytes_sent},
      {"bytes_received", store.bytes_received},
      {"connections", store.connections},
      {"waiting", store.waiting},
      {"upload_buffer_bytes", store.upload_buffer_bytes},
      {"last_failure", store.last_failure},
  };
  if (store.seconds_since_failure.has_value()) json["seconds_since_failure"] = *store.seconds_since_failure;
  if (!store.cache.has_value()) return json;
  const ServerStats::ObjectStore::Cache& cache = *store.cache;
  json["cache"] = {
      {"limit_bytes", cache.limit_bytes},
      {"disk_bytes", cache.disk_bytes},
      {"hits", cache.hits},
      {"shared", cache.shared},
      {"misses", cache.misses},
      {"evictions", cache.evictions},
      {"damaged", cache.damaged},
      {"disk_failures", cache.disk_failures},
      {"last_disk_failure", cache.last_disk_failure},
  };
  return json;
}

ordered_json ToJson(const ServerStats& stats) {
  ordered_json shares = ordered_json::array();
  for (const auto& share : stats.memory.shares) {
    shares.push_back({{"name", share.name}, {"used_bytes", share.used_bytes}});
  }
  const auto& [blocks, resident_blocks, resident_bytes, disk_bytes, written_bytes, syncs, unsynced_bytes,
               accepts_writes, refusal, record_bytes, dead_bytes] = stats.log;
  const auto& [slots, unresolved_slots, index_bytes, live_keys_min, live_keys_max, resolved_chains,
               resolution_reads] = stats.index;
  const auto& [gets, hits_memory, hits_disk, misses, disk_reads, sets, deletes, updates_in_place,
               conditions_failed, hits_deep_cold, disk_reads_by] = stats.operations;
  const auto& [running, blocks_freed, bytes_scanned, bytes_written, records_moved, records_dropped,
               graves_written, failure] = stats.compaction;
  const auto& [deep_keys, deep_bytes, deep_disk_bytes, shadowed_keys_max, records_demoted, deep_failure,
               records_promoted] = stats.deep_cold;
  const auto& [slots_from_checkpoint, records_read, records_warmed, checkpoints, checkpoint_failure] =
      stats.recovery;
  ordered_json json = {
      {"server_version", stats.server_version},
      {"uptime_ms", stats.uptime_ms},
      {"recovery_ms", stats.recovery_ms},
      {"memory",
       {{"limit_bytes", stats.memory.limit_bytes},
        {"used_bytes", stats.memory.used_bytes},
        {"shares", shares},
        {"resident_set_bytes", stats.memory.resident_set_bytes},
        {"cached_records", stats.memory.cached_records}}},
      {"log",
       {{"blocks", blocks},
        {"resident_blocks", resident_blocks},
        {"resident_bytes", resident_bytes},
        {"disk_bytes", disk_bytes},
        {"written_bytes", written_bytes},
        {"syncs", syncs},
        {"unsynced_bytes", unsynced_bytes},
        {"accepts_writes", accepts_writes},
        {"refusal", refusal},
        {"record_bytes", record_bytes},
        {"dead_bytes", dead_bytes}}},
      {"index",
       {{"slots", slots},
        {"unresolved_slots", unresolved_slots},
        {"bytes", index_bytes},
        {"live_keys_min", live_keys_min},
        {"live_keys_max", live_keys_max},
        {"resolved_chains", resolved_chains},
        {"resolution_reads", resolution_reads}}},
      {"operations",
       {{"gets", gets},
        {"hits_memory", hits_memory},
        {"hits_disk", hits_disk},
        {"misses", misses},
        {"disk_reads", disk_reads},
        {"sets", sets},
        {"deletes", deletes},
        {"updates_in_place", updates_in_place},
        {"conditions_failed", conditions_failed},
        {"hits_deep_cold", hits_deep_cold},
        {"disk_reads_by", disk_reads_by}}},
      {"compaction",
       {{"running", running},
        {"blocks_freed", blocks_freed},
        {"bytes_scanned", bytes_scanned},
        {"bytes_written", bytes_written},
        {"records_moved", records_moved},
        {"records_dropped", records_dropped},
        {"graves_written", graves_written},
        {"failure", failure}}},
      {"deep_cold",
       {{"keys", deep_keys},
        {"bytes", deep_bytes},
        {"disk_bytes", deep_disk_bytes},
        {"shadowed_keys_max", shadowed_keys_max},
        {"records_demoted", records_demoted},
        {"failure", deep_failure},
        {"records_promoted", records_promoted}}},
      {"recovery",
       {{"slots_from_checkpoint", slots_from_checkpoint},
        {"records_read", records_read},
        {"records_warmed", records_warmed},
        {"checkpoints", checkpoints},
        {"checkpoint_failure", checkpoint_failure}}},
  };
  if (stats.segments.has_value()) json["segments"] = ToJson(*stats.segments);
  if (stats.object_store.has_value()) json["object_store"] = ToJson(*stats.object_store);
  return json;
}

void Line(std::ostream& out, std::string_view name, std::string_view value) {
  out << fmt::format("  {:<20}{}\n", name, value);
}

void PrintHolding(const ServerStats& stats, std::ostream& out) {
  const auto& [limit, used, shares, resident, cached_records] = stats.memory;
  out << "memory\n";
  Line(out, "limit", FormatBytes(limit));
  Line(out, "used", FormatBytes(used));
  for (const auto& share : shares) Line(out, "  " + share.name, FormatBytes(share.used_bytes));
  Line(out, "process", FormatBytes(resident));
  Line(out, "hot records", FormatCount(cached_records));

  const ServerStats::Index& index = stats.index;
  out << "keys\n";
  Line(out, "live",
       index.live_keys_min == index.live_keys_max
           ? FormatCount(index.live_keys_max)
           : fmt::format("{} to {}", FormatCount(index.live_keys_min), FormatCount(index.live_keys_max)));
  Line(out, "index slots",
       fmt::format("{}, {} unresolved", FormatCount(index.slots), FormatCount(index.unresolved_slots)));
  Line(out, "resolved",
       fmt::format("{} with {} disk reads", FormatCount(index.resolved_chains),
                   FormatCount(index.resolution_reads)));

  const ServerStats::Log& log = stats.log;
  out << "log\n";
  Line(out, "blocks",
       fmt::format("{}, {} of them in memory", FormatCount(log.blocks), FormatCount(log.resident_blocks)));
  Line(out, "on disk", FormatBytes(log.disk_bytes));
  Line(out, "records",
       fmt::format("{}, about {} of them dead", FormatBytes(log.record_bytes), FormatBytes(log.dead_bytes)));
  Line(out, "not yet synced", FormatBytes(log.unsynced_bytes));
  Line(out, "written", fmt::format("{} in {} syncs", FormatBytes(log.written_bytes), FormatCount(log.syncs)));
  Line(out, "accepts writes", log.accepts_writes ? "yes" : "no: " + log.refusal);
}

// Only where there is any.
void PrintDeepCold(const ServerStats::DeepCold& deep_cold, std::ostream& out) {
  if (deep_cold.keys == 0 && deep_cold.records_demoted == 0 && deep_cold.failure.empty()) return;
  out << "deep cold\n";
  Line(out, "keys",
       deep_cold.shadowed_keys_max == 0
           ? FormatCount(deep_cold.keys)
           : fmt::format("{}, up to {} of them superseded", FormatCount(deep_cold.keys),
                         FormatCount(deep_cold.shadowed_keys_max)));
  Line(out, "on disk", FormatBytes(deep_cold.disk_bytes));
  Line(out, "demoted", FormatCount(deep_cold.records_demoted));
  Line(out, "came back", FormatCount(deep_cold.records_promoted));
  if (!deep_cold.failure.empty()) Line(out, "failed", deep_cold.failure);
}

// Changes do not know how many ids will come, and read no blocks.
std::string WorkLine(const ServerStats::Segments::Work& work) {
  if (work.progress.max_ids > 0 || work.progress.blocks > 0) {
    return QueryProgressLine(work.progress, work.started_ago);
  }
  return fmt::format("{}  {}", FormatIds(work.progress.ids), FormatDuration(work.started_ago));
}

void PrintSegments(const ServerStats::Segments& segments, std::ostream& out) {
  out << "segments\n";
  Line(out, "number", FormatCount(segments.segments));
  Line(out, "memory",
       fmt::format("{} of {}", FormatBytes(segments.memory_used_bytes),
                   FormatBytes(segments.memory_limit_bytes)));
  Line(out, "on disk",
       fmt::format("{} in {} id files", FormatBytes(segments.id_file_bytes), FormatCount(segments.id_files)));
  Line(out, "recent changes", FormatCount(segments.recent_changes));
  Line(out, "kept results",
       fmt::format("{}, {}", FormatCount(segments.kept_results), FormatBytes(segments.kept_result_bytes)));
  Line(out, "accepts changes", segments.accepts_changes ? "yes" : "no: " + segments.refusal);
  if (!segments.rewrite_failure.empty()) Line(out, "rewrite failed", segments.rewrite_failure);
  if (segments.running.empty()) return;
  out << "running on segments\n";
  for (const auto& work : segments.running) {
    out << "  " << FormatText(work.what, kShownWorkBytes) << "\n    " << WorkLine(work) << "\n";
  }
}

void PrintObjectStore(const ServerStats::ObjectStore& store, std::ostream& out) {
  out << "object store\n";
  Line(out, "files of segments", store.url.empty() ? "not there" : store.url);
  Line(out, "requests",
       fmt::format("{}, {} of them retries; {} failed", FormatCount(store.requests),
                   FormatCount(store.retries), FormatCount(store.failures)));
  Line(out, "sent", FormatBytes(store.bytes_sent));
  Line(out, "received", FormatBytes(store.bytes_received));
  Line(out, "now",
       fmt::format("{} connections, {} requests waiting, {} of uploads", FormatCount(store.connections),
                   FormatCount(store.waiting), FormatBytes(store.upload_buffer_bytes)));
  if (store.seconds_since_failure.has_value()) {
    Line(out, "last failure", fmt::format("{} s ago: {}", *store.seconds_since_failure, store.last_failure));
  }
  if (!store.cache.has_value()) return;
  const ServerStats::ObjectStore::Cache& cache = *store.cache;
  Line(out, "cache",
       fmt::format("{} of {} on disk", FormatBytes(cache.disk_bytes), FormatBytes(cache.limit_bytes)));
  Line(out, "  blocks found", FormatCount(cache.hits + cache.shared));
  Line(out, "  blocks fetched", FormatCount(cache.misses));
  Line(out, "  evicted", FormatCount(cache.evictions));
  if (cache.damaged > 0) Line(out, "  damaged", FormatCount(cache.damaged));
  if (cache.disk_failures > 0)
    Line(out, "  disk failures",
         fmt::format("{}: {}", FormatCount(cache.disk_failures), cache.last_disk_failure));
}

void PrintSegmentOperations(const ServerStats::Segments& segments, std::ostream& out) {
  out << "segment operations since the start\n";
  Line(out, "queries", FormatCount(segments.queries));
  Line(out, "  by a kept result", FormatCount(segments.kept_result_hits));
  Line(out, "  waiting now", FormatCount(segments.queries_waiting));
  Line(out, "  refused", FormatCount(segments.queries_refused));
  Line(out, "changes waiting", FormatCount(segments.changes_waiting));
  Line(out, "ids returned", FormatCount(segments.ids_returned));
  Line(out, "blocks read",
       fmt::format("{}, {}", FormatCount(segments.blocks_read), FormatBytes(segments.bytes_read)));
  Line(out, "rewrites", FormatCount(segments.rewrites));
}

void PrintRecovery(const ServerStats::Recovery& recovery, std::ostream& out) {
  out << "recovery at the start\n";
  Line(out, "from a checkpoint", fmt::format("{} slots", FormatCount(recovery.slots_from_checkpoint)));
  Line(out, "from the log", fmt::format("{} records", FormatCount(recovery.records_read)));
  Line(out, "warm again", fmt::format("{} records", FormatCount(recovery.records_warmed)));
  Line(out, "checkpoints since", FormatCount(recovery.checkpoints));
  if (!recovery.checkpoint_failure.empty()) Line(out, "checkpoint failed", recovery.checkpoint_failure);
}

void PrintOperations(const ServerStats::Operations& operations, std::ostream& out) {
  out << "operations since the start\n";
  Line(out, "gets", FormatCount(operations.gets));
  Line(out, "  from memory", FormatCount(operations.hits_memory));
  Line(out, "  from disk", FormatCount(operations.hits_disk));
  Line(out, "  from deep cold", FormatCount(operations.hits_deep_cold));
  Line(out, "  not found", FormatCount(operations.misses));
  Line(out, "disk reads",
       fmt::format("{} by {}", FormatCount(operations.disk_reads), operations.disk_reads_by));
  Line(out, "sets", FormatCount(operations.sets));
  Line(out, "  in place", FormatCount(operations.updates_in_place));
  Line(out, "deletes", FormatCount(operations.deletes));
  Line(out, "conditions not met", FormatCount(operations.conditions_failed));
}

void PrintCompaction(const ServerStats::Compaction& compaction, std::ostream& out) {
  out << "compaction since the start\n";
  Line(out, "running", compaction.running ? "yes" : "no");
  if (!compaction.failure.empty()) Line(out, "failed", compaction.failure);
  Line(out, "blocks freed",
       fmt::format("{}, {}", FormatCount(compaction.blocks_freed), FormatBytes(compaction.bytes_scanned)));
  Line(out, "written again", FormatBytes(compaction.bytes_written));
  Line(out, "records kept", FormatCount(compaction.records_moved));
  Line(out, "records dropped", FormatCount(compaction.records_dropped));
  Line(out, "graves written", FormatCount(compaction.graves_written));
}

}  // namespace

ExitCode Execute(const StatsCommand&, Context& context) {
  const absl::StatusOr<ServerStats> stats = context.client.Stats();
  if (!stats.ok()) return FailCall(stats.status(), context.io);
  std::ostream& out = context.io.out;
  if (context.json) {
    out << ToJson(*stats).dump() << "\n";
    return kOk;
  }
  out << fmt::format("thermocline-server {}, up {}, recovered in {}\n", stats->server_version,
                     FormatDuration(std::chrono::milliseconds(stats->uptime_ms)),
                     FormatDuration(std::chrono::milliseconds(stats->recovery_ms)));
  PrintHolding(*stats, out);
  PrintDeepCold(stats->deep_cold, out);
  if (stats->segments.has_value()) PrintSegments(*stats->segments, out);
  if (stats->object_store.has_value()) PrintObjectStore(*stats->object_store, out);
  PrintOperations(stats->operations, out);
  if (stats->segments.has_value()) PrintSegmentOperations(*stats->segments, out);
  PrintCompaction(stats->compaction, out);
  PrintRecovery(stats->recovery, out);
  return kOk;
}

}  // namespace thermocline::cli
