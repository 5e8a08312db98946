#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/executor.h"
#include "storage/file_system.h"
#include "storage/gate.h"
#include "storage/log/block.h"
#include "storage/log/block_table.h"
#include "storage/log/format.h"
#include "storage/log/recovery.h"
#include "storage/memory_budget.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// The append-only log that is the store and its write-ahead log at once.
//
// A record is appended to the open chunk of the open block, in memory. A chunk is closed when it is full or
// when somebody waits for the disk; from then on its bytes never change. The committer, a task that runs on
// one executor and never twice at a time, checksums closed chunks, writes them, syncs once for all who wait
// (group commit), moves the horizon, makes the next block ready and lets the oldest blocks leave memory.
//
// Thread-safe. What is called "under a latch" wants the caller to hold the index latch of the key concerned:
// it is what orders updates in place against reads of the same record.
class BlockLog {
 public:
  struct Config {
    std::string directory;  // of the block files; must exist
    uint64_t store_id = 0;
    uint32_t block_bytes = 0;
    std::chrono::milliseconds flush_interval{0};
    uint64_t memory_headroom = 0;  // bytes of the budget that the committer tries to keep free for others
  };

  struct Collaborators {
    FileSystem& files;
    MemoryBudget& budget;
    Executor& commits;
    // Returns when all latches held at the call are released. Called by the committer, without a lock.
    std::function<void()> wait_for_latches;
    // Copies what is hot of a block, and calls `done`, from any thread, when its memory is not needed any
    // more. Called by the committer, without a lock; empty: nothing is copied.
    std::function<void(std::shared_ptr<LeavingBlock>, std::function<void()> done)> before_leaving;
    // Gives memory of the cache back, at least so many bytes if it has them, and returns how many. As above.
    std::function<uint64_t(uint64_t bytes)> shrink_cache;
  };

  struct Appended {
    Position position = 0;
    uint64_t version = 0;
    uint32_t bytes = 0;
  };

  struct Counters {
    uint64_t blocks, resident_blocks, disk_bytes, written_bytes, syncs, unsynced_bytes;
    uint64_t record_bytes, dead_bytes;
  };

  // Makes a new block, then finishes the recovery (see recovery.h): writes are possible when this returns OK.
  static absl::StatusOr<std::unique_ptr<BlockLog>> Open(const Config& config, const Collaborators& world,
                                                        RecoveredLog recovered);
  // Runs no more tasks; Close() first.
  ~BlockLog();

  // Appends a record with the next version, or its own if it has one, somewhere before `below`. Under a
  // latch. nullopt: there is no room now, or writes are refused: call WhenRoom.
  std::optional<Appended> Append(Record record, Position below);
  // Overwrites the record at `position` if it still stands in the open chunk and the new one takes exactly as
  // many bytes. Under a latch. Returns the new version, or nullopt: append instead.
  std::optional<uint64_t> UpdateInPlace(Position position, uint32_t old_bytes, Record record);
  // A version for a write that had nothing to write. nullopt as Append.
  std::optional<uint64_t> NextVersion();

  using Done = absl::AnyInvocable<void(absl::Status)>;
  // Calls `done` when everything appended so far is on the disk, perhaps at once. UNKNOWN if the sync failed.
  void WhenDurable(Done done);
  // Calls `done` with OK when the committer has made room, later, or with the reason why there is none,
  // perhaps at once. kDeletes: they may use half of the space that is kept. kCopies: for records that have
  // their versions; they may as well, and are not throttled.
  enum class For { kWrites, kDeletes, kCopies };
  void WhenRoom(Done done, For what = For::kWrites);
  // True while the last space on the disk is kept for deletes and for compaction.
  bool is_short_of_space() const {
    MutexLock lock(mutex_);
    return !no_space_.ok();
  }
  // OK, or why writes are refused.
  absl::Status write_status() const;

  // The record at `position` if its block is in memory. Under a latch, and the views live until it is
  // released.
  std::optional<DecodedRecord> Resident(Position position) const;
  // Keeps what was found of a resident record in memory. Under the same latch. nullptr if it lies elsewhere,
  // or while the record may still be updated in place.
  std::shared_ptr<const void> Pin(Position position, std::string_view found) const;
  // Keeps the block of a record that is not resident, to read it from the disk without a latch. Under a
  // latch. Empty: the block is gone, and nothing that lives was in it.
  BlockHold Hold(Position position) const;
  // The record at `position` is about to be read, if its block is in memory. Under a latch.
  void Prefetch(Position position) const;
  // The record at `position`, if its block is in memory, was used. Under a latch.
  void Touch(Position position) const;
  // How often, up to two; 0 if it is not resident. Under a latch.
  uint32_t UsesOf(Position position) const;
  // Bytes of a record that stands at `position`, whose block is sealed. Under a latch.
  uint32_t BytesAt(Position position, const Record& record) const;
  // Under a latch. True if its block is sealed, and not in memory.
  bool IsOnlyOnDisk(Position position) const {
    const Block* const block = BlockOf(position);
    return block != nullptr && block->resident.load(std::memory_order_acquire) == nullptr;
  }
  // Under a latch.
  bool Stands(Position position) const { return BlockOf(position) != nullptr; }
  // The record at `position` is not needed any more; `bytes` is its size, 0 if that is not known. Under a
  // latch.
  void MarkDead(Position position, uint32_t bytes);

  // Everything before it is on the disk.
  Position horizon() const {
    MutexLock lock(mutex_);
    return horizon_;
  }
  // True if blocks can leave memory for the sake of the cache: they have a good part of what the index
  // leaves.
  bool HasMemoryToSpare() const;
  // Lets blocks leave memory, soon, until so many bytes are free, if they have memory to spare.
  void MakeRoomFor(uint64_t bytes);

  // Closes the open chunk: everything before the returned position will never change.
  Position Freeze();
  // The next records will stand below it, for a while at least: half as far again as the log has come.
  Position bound() const { return bound_.load(std::memory_order_relaxed); }
  // The first block from `sequence` on. Under a latch. Empty: there is none.
  BlockHold HoldFrom(uint64_t sequence) const;
  uint32_t used_of(const Block& block) const;

  // What compaction needs. One caller at a time.

  struct Usage {
    uint64_t sequence = 0;
    uint64_t used = 0;
    uint64_t live_bytes = 0;  // of used; estimated, see Block::dead_bytes
    uint64_t records = 0;
  };
  // Of every block that is sealed and on the disk, in their order.
  std::vector<Usage> usage(uint64_t now_ms) const;
  // Of all blocks, in their order.
  std::vector<uint64_t> sequences() const;
  struct Written {
    BlockHold block;
    uint64_t dead_bytes = 0;  // by now
  };
  // The same blocks as of usage(); they stand as long as they are held, or their files do.
  std::vector<Written> HoldWritten() const;
  uint64_t DeadBytesIn(uint64_t sequence) const;  // 0: no such block
  // So many bytes of a block's records are not needed any more, or so many records. No such block: nothing.
  void MarkDeadIn(uint64_t sequence, uint64_t bytes);
  void MarkRecordsDeadIn(uint64_t sequence, uint64_t records);
  // While it is on, writers get room only for as many bytes as there was credit added.
  void Throttle(bool on);
  void AddCredit(uint64_t bytes);
  // So many bytes of credit a second, by and by, while writers are throttled.
  void Pace(uint64_t bytes_per_second);
  // Sets `count` sequence numbers aside and calls `done` with the first of them when all that is appended
  // from then on stands behind the last.
  using SetAsideDone = absl::AnyInvocable<void(absl::StatusOr<uint64_t>)>;
  void SetAside(uint32_t count, SetAsideDone done);
  // A block with a number that was set aside, sealed and on the disk.
  void Add(std::unique_ptr<Block> block);
  // Takes blocks out of the log, to which nothing points any more, and calls `done` when nobody finds them
  // any more. Their files stay.
  void Retire(std::vector<uint64_t> sequences, Done done);
  absl::Status Unlink(uint64_t sequence);
  std::string PathOf(uint64_t sequence) const { return config_.directory + "/" + BlockFileName(sequence); }

  struct End {
    Position position;  // of the end of the last chunk; 0: there is none
    uint64_t next_version;
  };
  // Waits for tasks under way and takes no more, commits everything. Nobody may be waiting. Returns the end
  // of the log, or the failure.
  absl::StatusOr<End> Close();

  // Puts a block that is only on the disk into memory again, soon: all its bytes, verified. If it has left
  // the log by then, or memory is short, nothing happens.
  void Readmit(uint64_t sequence, std::shared_ptr<BlockMemory> memory);

  // After Close: every block that is in memory; its memory goes as soon as it has been visited.
  void TakeResident(absl::FunctionRef<void(const Block&, const BlockMemory&)> visit);

  Counters counters() const;
  uint32_t block_bytes() const { return config_.block_bytes; }
  uint64_t store_id() const { return config_.store_id; }

 private:
  // Space in the open chunk that one thread is writing a record into.
  struct Filling {
    char* out;
    Position position;
    uint64_t base_version;
    int epoch;
  };
  struct Waiter {
    Position target;
    Done done;
  };
  // A part of a block that the committer has to write.
  struct Dirty {
    Block* block;
    uint32_t end;
    bool sealed;
  };
  struct SettingAside {
    uint32_t count;
    SetAsideDone done;
  };
  struct Retiring {
    std::vector<uint64_t> sequences;
    Done done;
  };
  // So much unsynced data starts a commit that nobody waits for.
  static constexpr uint64_t kWriteBehindBytes = 4 << 20;

  BlockLog(const Config& config, const Collaborators& world);

  const Block* BlockOf(Position position) const { return table_.Find(position / config_.block_bytes); }

  // block_log.cc: appending.
  bool MakeRoom(const Record& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Filling StartFilling(Position position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fill(const Filling& filling, const Record& record);
  void OpenChunk() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ScheduleRetry() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ScheduleTick() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseChunk(uint32_t padded_end, bool last) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool SwitchBlock() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Activate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Position tail() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return open_->position_of(cursor_); }
  bool out_of_credit() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return throttled_ && credit_ <= 0; }
  std::deque<Done> TakeParked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Credit(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SchedulePace() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool accepts_writes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return failure_.ok() && !closed_; }
  void ScheduleCommit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  static absl::Status OutcomeUnknown(const absl::Status& failure);

  // committer.cc: everything that runs on the commit executor.
  // Runs the committer, unless the log is gone by then, and first clears the flag that it is scheduled.
  Executor::Task CommitterTask(bool BlockLog::*scheduled);
  void RunCommitter(bool must_commit);
  bool CommitIsDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Commit();
  std::vector<Dirty> TakeDirty(Position& target);
  absl::Status WriteChunks(Block& block, uint32_t end);
  void FinishSealed(Block& block);
  void Advance(Position target);
  void Fail(const absl::Status& status);
  // How much a writer waits for what is to be done.
  enum class Urgency { kSoon, kNow };
  void LookAtSpace();
  absl::Status PrepareNextBlock(Urgency urgency);
  absl::StatusOr<std::unique_ptr<Block>> CreateBlock();
  absl::Status KeepHeadroom();
  bool FreeMemory(uint64_t bytes, Urgency urgency);
  bool IsReadyToLeave(const Block& block);
  bool EvictOldest(Urgency urgency);
  void TakeBack();
  void StopCopying();
  absl::StatusOr<uint64_t> TakeNumbers(uint32_t count);
  void SetNumbersAside(const absl::Status& log_status);
  void RetireBlocks();

  const Config config_;
  const Collaborators world_;
  const std::shared_ptr<Gate> gate_;  // of tasks that have not run yet

  mutable Mutex mutex_;
  BlockTable table_;  // changed under mutex_
  Block* open_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::unique_ptr<Block> next_ ABSL_GUARDED_BY(mutex_);  // prepared, on the disk
  uint32_t cursor_ ABSL_GUARDED_BY(mutex_) = 0;          // where the next record or chunk goes in open_
  uint32_t chunk_start_ ABSL_GUARDED_BY(mutex_) = 0;     // 0: no chunk is open
  uint32_t chunk_records_ ABSL_GUARDED_BY(mutex_) = 0;
  Position last_chunk_end_ ABSL_GUARDED_BY(mutex_) = 0;  // also of blocks before open_
  uint64_t next_version_ ABSL_GUARDED_BY(mutex_) = 1;
  Position horizon_ ABSL_GUARDED_BY(mutex_) = 0;      // everything before it is on the disk
  std::deque<Block*> dirty_ ABSL_GUARDED_BY(mutex_);  // not wholly on the disk, oldest first
  std::vector<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
  std::deque<Done> parked_ ABSL_GUARDED_BY(mutex_);
  std::vector<Done> parked_copies_ ABSL_GUARDED_BY(mutex_);
  bool throttled_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t credit_ ABSL_GUARDED_BY(mutex_) = 0;  // bytes; a record may overdraw it
  uint64_t pace_ ABSL_GUARDED_BY(mutex_) = 0;
  bool pace_scheduled_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);     // of a write or sync: final
  absl::Status no_room_ ABSL_GUARDED_BY(mutex_);     // why the next block could not be made; tried again
  absl::Status no_space_ ABSL_GUARDED_BY(mutex_);    // why only deletes and copies are taken; looked at again
  bool last_space_ ABSL_GUARDED_BY(mutex_) = false;  // only copies are
  std::optional<SettingAside> setting_aside_ ABSL_GUARDED_BY(mutex_);
  std::vector<Retiring> retiring_ ABSL_GUARDED_BY(mutex_);
  struct Readmitted {
    uint64_t sequence;
    std::shared_ptr<BlockMemory> memory;
  };
  std::vector<Readmitted> readmitted_ ABSL_GUARDED_BY(mutex_);
  bool commit_scheduled_ ABSL_GUARDED_BY(mutex_) = false;
  bool tick_scheduled_ ABSL_GUARDED_BY(mutex_) = false;
  bool retry_scheduled_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  int epoch_ ABSL_GUARDED_BY(mutex_) = 0;

  // Records reserved and not yet filled in, by epoch. The committer flips the epoch and waits for the old
  // one's to finish: release by those who fill, acquire by the committer.
  std::array<std::atomic<uint32_t>, 2> filling_{};
  // Below it, nothing changes. Release when a chunk is opened; acquire in Pin.
  std::atomic<Position> frozen_below_{0};
  std::atomic<Position> bound_{0};

  // The committer's own.
  uint64_t next_sequence_ = 1;
  uint64_t last_sequence_ = 0;                   // of the newest block that stands in the log
  std::deque<Block*> resident_;                  // sealed, on the disk and in memory; oldest first
  std::shared_ptr<LeavingBlock> leaving_;        // the oldest of them, perhaps
  std::vector<std::unique_ptr<Block>> retired_;  // still held by readers

  std::atomic<uint64_t> wanted_bytes_{0};  // by the cache
  std::atomic<uint64_t> blocks_{0};
  std::atomic<uint64_t> resident_blocks_{0};
  std::atomic<uint64_t> disk_bytes_{0};
  std::atomic<uint64_t> written_bytes_{0};
  std::atomic<uint64_t> syncs_{0};
  std::atomic<uint64_t> record_bytes_{0};
  std::atomic<uint64_t> dead_bytes_{0};
};

}  // namespace thermocline::storage
