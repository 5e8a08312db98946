#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"
#include "storage/types.h"

namespace thermocline::storage {

struct ColdOptions {
  // Where everything lives; created if missing. Nothing else may be in it.
  std::string directory;

  // Of the store this one is part of. Remembered when it is created, checked when it is opened.
  uint64_t store_id = 0;

  // What it may use in bulk, in bytes: at least kMinColdMemoryBytes. A key takes less than 2 bytes of it
  // where all filters are to be in memory (1.6 measured); with less, a get reads its filters from the disk.
  uint64_t memory_bytes = uint64_t{128} << 20;
  // As much as Grow will ever give it; decides how many files are kept open.
  uint64_t most_memory_bytes = 0;
};

inline constexpr uint64_t kMinColdMemoryBytes = uint64_t{32} << 20;

// A record on its way in. The views live for the call that takes it.
struct ColdRecord {
  std::string_view key;
  std::string_view value;
  Version version = 0;
  uint64_t expires_at_ms = 0;  // 0: never
};

struct ColdEntry {
  std::string value;
  Version version = 0;
  uint64_t expires_at_ms = 0;
};

// What is to be removed: the entry of `key`, if its version is `version` or an older one.
struct ColdRemoval {
  std::string_view key;
  Version version = UINT64_MAX;
};

struct ColdScanRequest {
  std::string_view after_key;  // empty: from the beginning
  std::string_view prefix;
  size_t max_entries = 1024;   // at least 1
  size_t max_bytes = 1 << 20;  // of keys and values; passed only by a first entry that is larger
};

struct ColdScanPage {
  struct Item {
    std::string key;
    ColdEntry entry;
  };
  std::vector<Item> items;  // ascending by the bytes of their keys; the last one's is the next after_key
  bool done = false;        // nothing follows
};

struct ColdReclaimed {
  uint64_t keys = 0;
  bool done = false;  // nothing that has expired is left
};

struct ColdStats {
  uint64_t live_keys = 0;   // exact; those that have expired count until they are reclaimed
  uint64_t live_bytes = 0;  // exact; of their keys and values
  uint64_t disk_bytes = 0;
  uint64_t memory_limit = 0;
  uint64_t memory_bytes = 0;  // never above the limit
  uint64_t pending_compaction_bytes = 0;
  bool is_stalled = false;    // a write waits, or would wait, for compactions
  absl::Status write_status;  // OK, or why writes are refused
};

// Records that are too cold to be worth memory: a sorted map on the disk from keys to entries. It is filled
// in bulk: each batch that changes anything becomes a file and costs five syncs, so batches should have
// thousands of records, better 100 thousand and more.
//
// Thread-safe. Calls block, some for as long as the disk takes. Gets, scans and statistics never wait for
// writes. Writes take turns, and each finds out and decides while it is the only one, so no entry that a Put
// has brought is removed by a Delete that names an older version, nor the other way round.
//
// A batch is one step, also across a crash: it is there wholly or not at all, and it is there if the call
// returned OK.
//
// Memory: `memory_bytes` covers blocks, filters, indexes, tables and what compactions need. What a caller
// hands over or gets back is the caller's; a write takes another 16 bytes for each of its records, and 32
// for each that expires.
//
// Errors:
//   INVALID_ARGUMENT    a limit of types.h
//   RESOURCE_EXHAUSTED  no space on the disk; nothing was written, and writing may be tried again
//   UNAVAILABLE         the disk failed. After a failed write or sync all writes are refused until the store
//                       is opened again; the batch that met it may be there then, wholly, or not
//   DATA_LOSS           the disk returned what fails its checksum; the message names the file
class ColdStore {
 public:
  // Opens or creates the store. Uses two threads for compactions. `files` must outlive it.
  //   FAILED_PRECONDITION  locked, of another store, or of a format that this version does not know
  //   INVALID_ARGUMENT     too little memory
  static absl::StatusOr<std::unique_ptr<ColdStore>> Open(const ColdOptions& options, FileSystem& files);

  // Closes, if Close was not called.
  ~ColdStore();

  // Adds entries, or replaces those of an older version; one of the same or a newer version stays. Of records
  // of one key the newest counts. Waits for compactions when they are behind.
  absl::Status Put(std::span<const ColdRecord> batch);

  // Removes entries; keys that are not there are fine.
  absl::Status Delete(std::span<const ColdRemoval> batch);

  // Removes entries that have expired at `now_ms`, the first to expire first, as many as it can with
  // `max_bytes` of memory, but at least one. Others are not even looked at.
  absl::StatusOr<ColdReclaimed> ReclaimExpired(uint64_t now_ms, uint64_t max_bytes);

  // The entry of `key`, expired or not; nullopt if there is none.
  absl::StatusOr<std::optional<ColdEntry>> Get(std::string_view key) const;

  // The entries of many keys, in their order. Cheaper than as many gets, most of all if the keys are sorted.
  absl::StatusOr<std::vector<std::optional<ColdEntry>>> MultiGet(
      std::span<const std::string_view> keys) const;

  // Entries behind a key, in order, expired or not. Each page is of one moment.
  absl::StatusOr<ColdScanPage> Scan(const ColdScanRequest& request) const;

  // Gives it more memory, never less than it has.
  void Grow(uint64_t memory_bytes);

  // As in the statistics, at no cost.
  uint64_t live_keys() const;
  ColdStats Stats() const;

  // Stops compactions and lets go of the files; nothing may be called during or after it but the destructor.
  absl::Status Close();

 private:
  class Impl;
  explicit ColdStore(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace thermocline::storage
