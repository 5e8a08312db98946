#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"

#include "storage/cache/doorkeeper.h"
#include "storage/cache/position_table.h"
#include "storage/log/format.h"
#include "storage/memory_budget.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// Whether a look at a record counts as a use of it, which keeps it in memory.
enum class Use : uint8_t { kCount, kIgnore };

// Records in memory, by their position in the log. What stands at a position never changes, and no position
// is used twice: so nothing in here is ever wrong, and what was superseded or moved is only never asked for
// again, until it leaves.
//
// Records are copied into segments, one behind the other. When there is no more room, the oldest segment
// goes; of its records those that were used since they came, up to three times, come in again at the front,
// each for one of its uses: first-in first-out with a second chance, as the main queue of S3-FIFO (Yang et
// al., "FIFO queues are all you need for cache eviction", SOSP 2023). The window of resident blocks is its
// small queue, and the doorkeeper its ghost queue.
//
// Thread-safe. "Under a latch" wants the caller to hold any latch of the index: what was found lives until it
// is released. All else must be called without one. All bulk memory is taken from the budget's cache share.
class RecordCache {
 public:
  struct Collaborators {
    MemoryBudget& budget;
    // Whether the cache may take so many bytes more. Called with the cache's lock held.
    std::function<bool(uint64_t bytes)> may_grow;
    // Returns when all latches held at the call are released. Called with the cache's lock held, which nobody
    // waits for under a latch.
    std::function<void()> wait_for_latches;
  };

  explicit RecordCache(const Collaborators& world);
  ~RecordCache();
  RecordCache(const RecordCache&) = delete;
  RecordCache& operator=(const RecordCache&) = delete;

  // The record at a position, its version and links as they were put in. Under a latch.
  std::optional<DecodedRecord> Find(Position position, Use use) const;
  // Keeps the memory of a record that was found. Under the same latch. May be nullptr.
  std::shared_ptr<const void> Pin(Position position, std::string_view found) const;
  // The record is not needed any more: it gets no second chance. Under a latch.
  void Cool(Position position) const;

  // Puts a record in, as if it had been used so often since. False: there is no memory for it.
  bool Insert(Position position, const Record& record, uint32_t uses);
  // Puts a record in if it was offered a short while ago already, or if nothing has to go for it. True if it
  // is in.
  bool Offer(Position position, const Record& record);
  // Puts a record in if nothing has to go for it. True if it is in.
  bool InsertIfRoom(Position position, const Record& record);
  // The record at `from`, if it is in, will be asked for at `to` from now on, where it stands as `record`.
  void Move(Position from, Position to, const Record& record);

  // Gives memory back, at least so many bytes if it has them. Returns how many.
  uint64_t Shrink(uint64_t bytes);

  // Calls `visit` for each record's position, and gives all memory back. The last call: nobody may use the
  // cache any more.
  void Drain(absl::FunctionRef<void(Position)> visit);

  uint64_t records() const { return table_.entries(); }
  uint64_t segment_bytes() const { return segment_bytes_; }

 private:
  // A mapping of its own, taken from the budget until it is destroyed.
  class Memory;
  struct Segment {
    // Constant while entries lead here; release when they are set, acquire in Find.
    std::atomic<char*> data{nullptr};
    std::atomic<uint32_t> bytes{0};
    mutable std::atomic<bool> pinned{false};
    // Copied under a latch by who has found an entry of it; else guarded by the cache's lock.
    std::shared_ptr<Memory> memory;
    uint32_t used = 0;  // as the lock
  };
  // What stands before each record in a segment: its position.
  static constexpr uint32_t kPrefix = sizeof(Position);

  const char* EntryAt(CacheEntry entry) const;
  Position PositionAt(CacheEntry entry) const;
  std::atomic<uint64_t>* Look(Position position, uint64_t hash) const;
  enum class Evict : uint8_t { kMay, kNever };
  bool InsertLocked(Position position, const Record& record, uint32_t uses, Evict evict)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Doorkeeper* doorkeeper();

  // Returns the segment to write so many bytes into; 0: none.
  uint32_t SegmentFor(uint32_t bytes, Evict evict) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool NewHead(Evict evict) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginHead(uint32_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsReusable(uint32_t index) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t Allocate(uint32_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FreeSegment(uint32_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Records of a segment that leaves, which go on in another one.
  struct Survivors {
    struct Entry {
      Position position;
      uint32_t bytes;
      uint32_t uses;
    };
    std::vector<Entry> records;
    std::string bytes;
  };
  // Takes the oldest segment out. Its memory may go, or be used again, after a wait for latches; only then
  // may those of its records that were used be put back, since they may be in its place. Until then they are
  // not found.
  uint32_t EvictOldest(Survivors& survivors) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PutBack(const Survivors& survivors) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PassLargeOnes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Records that were used more often than `uses` go on, and of those that were used so often `bytes`.
  struct Bar {
    uint32_t uses;
    uint64_t bytes;
  };
  Bar BarOf(const Segment& segment, uint64_t room) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WaitForReaders() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <typename Visit>
  void ForEach(const Segment& segment, Visit visit) const;
  uint64_t HashOf(CacheEntry entry) const { return HashOfPosition(PositionAt(entry)); }

  const Collaborators world_;
  const uint32_t segment_bytes_;
  const uint32_t max_segments_;
  const std::unique_ptr<Segment[]> segments_;  // from 1

  mutable Mutex mutex_;
  PositionTable table_;                                // changed under mutex_
  std::deque<uint32_t> fifo_ ABSL_GUARDED_BY(mutex_);  // oldest first; the head among them
  std::vector<uint32_t> free_ ABSL_GUARDED_BY(mutex_);
  uint32_t head_ ABSL_GUARDED_BY(mutex_) = 0;  // being filled; 0: none
  MemoryBudget::Grant doorkeeper_memory_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Doorkeeper> owned_doorkeeper_ ABSL_GUARDED_BY(mutex_);
  std::atomic<Doorkeeper*> doorkeeper_{nullptr};
  std::atomic<bool> growing_{true};  // the segments were not enough yet, and there was memory for another
};

}  // namespace thermocline::storage
