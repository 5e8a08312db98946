#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/file_system.h"
#include "storage/segment/id_stream.h"

namespace thermocline::storage::segment {

// An id file as the catalog knows it.
struct FileEntry {
  uint64_t number = 0;  // 0: there is none
  uint64_t count = 0;
  uint64_t blocks = 0;
  uint64_t bytes = 0;
};

// A change of a segment: what was in it before, without `removes`, with `adds`. An id is in one of them at
// most. The ids are in files, or, of a recent layer, in the catalog itself.
struct Layer {
  uint64_t recent = 0;  // its number, if it is a recent layer; 0: it is files
  FileEntry adds;       // of a recent layer, only counts, and those are upper bounds
  FileEntry removes;
  uint64_t min_adds = 0;  // adds has at least so many
};

struct SegmentEntry {
  uint64_t id = 0;       // never used again
  uint64_t version = 0;  // never used again, for any segment
  uint64_t created_at_ms = 0;
  uint64_t changed_at_ms = 0;
  std::vector<Layer> layers;  // the oldest first

  struct Bounds {
    uint64_t min = 0;
    uint64_t max = 0;
  };
  // Of the number of ids.
  Bounds Count() const;
  uint64_t RecentChanges() const;
};

// An answer that was computed, as long as its inputs have the versions that are part of its key.
struct ResultEntry {
  std::string key;  // 16 bytes: a hash of the normal form and of the inputs' versions
  uint64_t count = 0;
  FileEntry file;  // number 0: only the count is known
  uint64_t expires_at_ms = 0;
  std::vector<uint64_t> segments;  // ids of the inputs
};

// What segments there are, and the recent changes of each: a RocksDB with a write-ahead log. Thread-safe.
// Calls may wait for the disk.
//
// Its log is read up to the first record that is damaged: where a crash tore the end off; nobody can tell
// that from damage to what was synced.
//
// Rows, all integers in keys big-endian:
//   'c'                      the next number that may be given out
//   'n' name                 SegmentEntry
//   'a' layer(8) id(8)       an id that a recent layer adds
//   'd' layer(8) id(8)       one that it removes
//   'r' number(8)            ResultEntry
class Catalog {
 public:
  // `memory_bytes`, at least 1 MiB, covers tables, their cache and what waits to be written to them.
  //   FAILED_PRECONDITION  locked, or of a format that this version does not know
  static absl::StatusOr<std::unique_ptr<Catalog>> Open(const std::string& directory, uint64_t memory_bytes,
                                                       FileSystem& files);
  ~Catalog();
  absl::Status Close();

  // It was made by this Open.
  bool is_new() const;

  // A number that was never given out before, also across crashes. 0 is none.
  absl::StatusOr<uint64_t> NewNumber();

  // One moment of everything.
  class Snapshot;
  std::shared_ptr<const Snapshot> Now() const;

  absl::StatusOr<std::optional<SegmentEntry>> Find(std::string_view name, const Snapshot* at = nullptr) const;
  // Calls `visit` in the order of names until it returns false.
  absl::Status ForEach(
      std::string_view prefix, std::string_view after, const Snapshot* at,
      const std::function<bool(std::string_view name, const SegmentEntry& entry)>& visit) const;
  absl::Status ForEachResult(
      const std::function<void(uint64_t number, const ResultEntry& entry)>& visit) const;

  // Changes that take effect together.
  class Batch {
   public:
    Batch();
    ~Batch();
    void Put(std::string_view name, const SegmentEntry& entry);
    void Remove(std::string_view name);
    // Ids, different from each other, of a recent layer; what the layer said of them before is forgotten.
    // Each is true if it may have said something.
    void AddRecent(uint64_t layer, std::span<const uint64_t> ids, bool may_be_removed);
    void RemoveRecent(uint64_t layer, std::span<const uint64_t> ids, bool may_be_added);
    void DropRecent(uint64_t layer);
    void PutResult(uint64_t number, const ResultEntry& entry);
    void RemoveResult(uint64_t number);

   private:
    friend class Catalog;
    class Impl;
    std::unique_ptr<Impl> impl_;
  };

  // Applies a batch: seen at once, durable after Sync. UNAVAILABLE once a write or a sync has failed, for
  // whatever reason: the fate of what was not synced is unknown, and nothing more is written until a restart.
  absl::Status Write(Batch& batch);
  // What was applied before is durable. Many callers share one sync.
  absl::Status Sync();
  // OK, or why writes are refused.
  absl::Status write_status() const;

  // The ids that a recent layer adds or removes. Must be destroyed before the catalog.
  std::unique_ptr<IdStream> RecentStream(std::shared_ptr<const Snapshot> at, uint64_t layer, bool adds) const;
  // What such a stream may allocate.
  static constexpr size_t kRecentStreamBytes = 128 << 10;

 private:
  class Impl;
  explicit Catalog(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace thermocline::storage::segment
