#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/clock.h"
#include "storage/disk_reads.h"
#include "storage/executor.h"
#include "storage/file_system.h"
#include "storage/options.h"
#include "storage/types.h"

namespace thermocline::storage {

// Everything outside the engine that it depends on. All must outlive it.
struct World {
  FileSystem& files;
  Clock& clock;
  Random& random;
  Executor& reads;       // scans and other work that waits for the disk; several threads pay
  DiskReads& disk;       // of gets and conditional writes, many at a time
  Executor& commits;     // writing, syncing and evicting blocks; must never run two tasks at once
  Executor& background;  // compaction; must never run two tasks at once
};

// What the engine holds and has done; counters since Open.
struct EngineStats {
  uint64_t memory_limit = 0;
  uint64_t index_bytes = 0;        // share of memory: the hash index
  uint64_t block_bytes = 0;        // share of memory: resident blocks, and those kept for the next ones
  uint64_t chunk_table_bytes = 0;  // share of memory: where chunks begin in the blocks
  uint64_t compaction_bytes = 0;   // share of memory: what compaction works with
  uint64_t deep_share_bytes = 0;   // share of memory: filters, indexes and buffers of deep cold
  uint64_t cache_bytes = 0;        // share of memory: hot records whose blocks have left memory

  uint64_t cached_records = 0;
  uint64_t warmed_records = 0;  // that were brought back since Open, for they had been hot when it was closed

  uint64_t blocks = 0;
  uint64_t resident_blocks = 0;
  uint64_t disk_bytes = 0;
  uint64_t written_bytes = 0;
  uint64_t syncs = 0;
  uint64_t unsynced_bytes = 0;
  absl::Status write_status;  // OK, or why writes are refused

  uint64_t index_slots = 0;
  uint64_t unresolved_slots = 0;
  // Equal when no slot is unresolved and no key can be shadowed. What has expired counts as live until
  // compaction has reclaimed it.
  uint64_t live_keys_min = 0;
  uint64_t live_keys_max = 0;

  // Deep cold: records that have left the log and its index.
  uint64_t deep_keys = 0;
  uint64_t deep_bytes = 0;  // of their keys and values
  uint64_t deep_disk_bytes = 0;
  uint64_t demoted_records = 0;
  uint64_t promoted_records = 0;  // that were read again soon, and so came back
  // So many of deep_keys, at most, have a newer record in the log; what has is found out in the background.
  uint64_t shadowed_keys_max = 0;
  absl::Status deep_status;  // OK, or why nothing can move there

  // Of records in the log, as they are encoded; estimated where a record that died was not in memory.
  uint64_t record_bytes = 0;
  uint64_t dead_bytes = 0;

  uint64_t compacted_blocks = 0;
  uint64_t compacted_bytes = 0;
  uint64_t compaction_written_bytes = 0;
  uint64_t compaction_moved_records = 0;
  uint64_t compaction_dropped_records = 0;
  uint64_t compaction_graves = 0;
  bool compacting = false;
  absl::Status compaction_status;  // OK, or why the last compaction failed
  uint64_t resolved_chains = 0;
  uint64_t resolution_reads = 0;

  uint64_t gets = 0;
  uint64_t hits_memory = 0;
  uint64_t hits_disk = 0;
  uint64_t hits_deep = 0;
  uint64_t misses = 0;
  uint64_t disk_reads = 0;
  std::string_view disk_reads_by;  // how: "io_uring" or "threads"
  uint64_t sets = 0;
  uint64_t deletes = 0;
  uint64_t updates_in_place = 0;
  uint64_t conditions_failed = 0;

  uint64_t checkpoints = 0;        // of the index, that were written
  absl::Status checkpoint_status;  // OK, or why the last one failed, or was of no use at Open

  uint64_t recovery_ms = 0;
  uint64_t recovered_slots = 0;    // of the index, from a checkpoint
  uint64_t recovered_records = 0;  // from the log
  uint64_t truncated_bytes = 0;  // of a torn tail, cut off at Open; never part of an acknowledged SYNC write
};

// The store: the only door to what lies behind it. Thread-safe.
//
// Operations are asynchronous: each takes a completion that is called exactly once, either before the call
// returns (what is in memory) or later on one of the World's executors, without any lock held. A completion
// may call the engine again. It should be short: it runs on the thread that serves others.
//
// Linearizable per key: an operation takes effect at one moment between its call and its completion. Reads
// see writes that are not yet on the disk (see Durability).
//
// Errors of operations:
//   INVALID_ARGUMENT    a limit of types.h or of this store's block size, or a cursor that is none
//   RESOURCE_EXHAUSTED  no space on the disk, or no memory for another slot of the index; nothing was written
//   UNAVAILABLE         writes are refused since a sync failed, or the engine is closing; nothing was written
//   UNKNOWN             the write was appended but its sync failed: it may or may not survive a restart
//   DATA_LOSS           the disk returned bytes that fail their checksum; the message names file and offset
class Engine {
 public:
  // Opens or creates the store, recovering what a crash left: everything acknowledged as SYNC is there, and
  // what was not may be missing as a suffix of the log.
  //   FAILED_PRECONDITION  the directory is locked, or holds another kind or version of store
  //   INVALID_ARGUMENT     options that contradict the limits or the existing store
  //   DATA_LOSS            corruption, named by file and offset; nothing is changed
  // Others as FileSystem.
  static absl::StatusOr<std::unique_ptr<Engine>> Open(const Options& options, const World& world);

  // Waits until every operation has completed and what was written is on the disk. With a manual executor,
  // drain it first.
  ~Engine();

  // Stops taking operations (UNAVAILABLE), completes those under way, syncs, and marks the store as cleanly
  // closed. Blocks. Returns the first failure of the sync. Not from a completion, and not twice
  // at once.
  absl::Status Close();

  // The live value of `key`, or nullopt.
  using GetDone = absl::AnyInvocable<void(absl::StatusOr<std::optional<Entry>>)>;
  void Get(std::string_view key, GetDone done);

  // Says that an operation on `key` follows in a microsecond or so: what it needs of the index will be at
  // hand. Who has many operations says it some of them ahead.
  void Expect(std::string_view key);
  // The same of its record, for a key that was expected a little earlier. Pays where many operations are at
  // hand.
  void ExpectRecord(std::string_view key);

  // Sets or deletes one key.
  using WriteDone = absl::AnyInvocable<void(absl::StatusOr<WriteResult>)>;
  void Apply(const Write& write, WriteDone done);

  // Completes when everything that was readable before the call is on the disk.
  using FlushDone = absl::AnyInvocable<void(absl::Status)>;
  void Flush(FlushDone done);

  // One page of a scan over all live keys, in the order of the log. Every key that lives from the first
  // page's call to the last page's completion is returned at least once; expired ones are not.
  using ScanDone = absl::AnyInvocable<void(absl::StatusOr<ScanPage>)>;
  void Scan(const ScanRequest& request, ScanDone done);

  // Compacts the log as far as there is something to gain, whatever the load, and reports. It goes on in the
  // background; `done` is called when it is over.
  using CompactDone = absl::AnyInvocable<void(absl::StatusOr<CompactionReport>)>;
  void Compact(CompactDone done);

  EngineStats Stats() const;

  // The largest value this store takes with a key of `key_bytes`.
  uint64_t max_value_bytes(size_t key_bytes) const;

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace thermocline::storage
