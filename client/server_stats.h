#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/segment_progress.h"

namespace thermocline {

// What a server holds and has done, as Admin.Stats tells; proto/thermocline/v1/admin.proto explains each
// number. Counters are since the start of the server.
struct ServerStats {
  std::string server_version;
  uint64_t uptime_ms = 0;
  uint64_t recovery_ms = 0;

  struct Memory {
    struct Share {
      std::string name;
      uint64_t used_bytes = 0;
    };
    uint64_t limit_bytes = 0;
    uint64_t used_bytes = 0;
    std::vector<Share> shares;
    uint64_t resident_set_bytes = 0;
    uint64_t cached_records = 0;
  } memory;

  struct Log {
    uint64_t blocks = 0;
    uint64_t resident_blocks = 0;
    uint64_t resident_bytes = 0;
    uint64_t disk_bytes = 0;
    uint64_t written_bytes = 0;
    uint64_t syncs = 0;
    uint64_t unsynced_bytes = 0;
    bool accepts_writes = false;
    std::string refusal;
    uint64_t record_bytes = 0;
    uint64_t dead_bytes = 0;
  } log;

  struct Index {
    uint64_t slots = 0;
    uint64_t unresolved_slots = 0;
    uint64_t bytes = 0;
    uint64_t live_keys_min = 0;
    uint64_t live_keys_max = 0;
    uint64_t resolved_chains = 0;
    uint64_t resolution_reads = 0;
  } index;

  struct Operations {
    uint64_t gets = 0;
    uint64_t hits_memory = 0;
    uint64_t hits_disk = 0;
    uint64_t misses = 0;
    uint64_t disk_reads = 0;
    uint64_t sets = 0;
    uint64_t deletes = 0;
    uint64_t updates_in_place = 0;
    uint64_t conditions_failed = 0;
    uint64_t hits_deep_cold = 0;
    std::string disk_reads_by;
  } operations;

  struct Compaction {
    bool running = false;
    uint64_t blocks_freed = 0;
    uint64_t bytes_scanned = 0;
    uint64_t bytes_written = 0;
    uint64_t records_moved = 0;
    uint64_t records_dropped = 0;
    uint64_t graves_written = 0;
    std::string failure;
  } compaction;

  struct DeepCold {
    uint64_t keys = 0;
    uint64_t bytes = 0;
    uint64_t disk_bytes = 0;
    uint64_t shadowed_keys_max = 0;
    uint64_t records_demoted = 0;
    std::string failure;
    uint64_t records_promoted = 0;
  } deep_cold;

  struct Recovery {
    uint64_t slots_from_checkpoint = 0;
    uint64_t records_read = 0;
    uint64_t records_warmed = 0;
    uint64_t checkpoints = 0;
    std::string checkpoint_failure;
  } recovery;

  struct Segments {
    // A query, change or rewrite that runs now.
    struct Work {
      std::string what;
      std::chrono::milliseconds started_ago{0};
      SegmentProgress progress;
    };
    uint64_t memory_limit_bytes = 0;
    uint64_t memory_used_bytes = 0;
    uint64_t segments = 0;
    uint64_t id_files = 0;
    uint64_t id_file_bytes = 0;
    uint64_t recent_changes = 0;
    uint64_t kept_results = 0;
    uint64_t kept_result_bytes = 0;
    uint64_t kept_result_hits = 0;
    uint64_t queries = 0;
    uint64_t queries_waiting = 0;
    uint64_t queries_refused = 0;
    uint64_t changes_waiting = 0;
    uint64_t ids_returned = 0;
    uint64_t blocks_read = 0;
    uint64_t bytes_read = 0;
    uint64_t rewrites = 0;
    bool accepts_changes = false;
    std::string refusal;
    std::string rewrite_failure;
    std::vector<Work> running;
  };
  std::optional<Segments> segments;  // nullopt: the server has no segments

  // An S3 store and the cache in front of it; counters since the start.
  struct ObjectStore {
    struct Cache {
      uint64_t limit_bytes = 0;
      uint64_t disk_bytes = 0;
      uint64_t hits = 0;
      uint64_t shared = 0;
      uint64_t misses = 0;
      uint64_t evictions = 0;
      uint64_t damaged = 0;
      uint64_t disk_failures = 0;
      std::string last_disk_failure;
    };
    std::string url;  // of the files of segments; empty: only exports go there
    uint64_t requests = 0;
    uint64_t retries = 0;
    uint64_t failures = 0;
    uint64_t bytes_sent = 0;
    uint64_t bytes_received = 0;
    uint64_t connections = 0;  // these three: now
    uint64_t waiting = 0;
    uint64_t upload_buffer_bytes = 0;
    std::string last_failure;
    std::optional<uint64_t> seconds_since_failure;
    std::optional<Cache> cache;  // nullopt: there is none
  };
  std::optional<ObjectStore> object_store;  // nullopt: the server uses no S3
};

// What compaction that was asked for has done, as Admin.Compact tells. All zero: there was nothing to gain.
struct CompactionReport {
  uint64_t blocks_freed = 0;
  uint64_t bytes_scanned = 0;
  uint64_t bytes_written = 0;
  uint64_t records_moved = 0;
  uint64_t records_dropped = 0;
  uint64_t duration_ms = 0;
};

}  // namespace thermocline
