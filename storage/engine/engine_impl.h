#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

#include "storage/cache/record_cache.h"
#include "storage/engine.h"
#include "storage/engine/blind_writes.h"
#include "storage/engine/checkpoint.h"
#include "storage/engine/compactor.h"
#include "storage/engine/deep_cold.h"
#include "storage/engine/grave_list.h"
#include "storage/engine/heat.h"
#include "storage/engine/lookup.h"
#include "storage/engine/replay.h"
#include "storage/engine/resolver.h"
#include "storage/engine/slot_counts.h"
#include "storage/engine/store_files.h"
#include "storage/engine/warm_up.h"
#include "storage/gate.h"
#include "storage/index/hash_index.h"
#include "storage/log/block_log.h"
#include "storage/memory_budget.h"

namespace thermocline::storage {

// The engine: an index in front of a log. open.cc opens it, engine.cc closes it, read.cc, write.cc and
// scan.cc are its operations.
class Engine::Impl {
 public:
  Impl(const Options& options, const World& world);
  ~Impl();

  absl::Status Open();
  absl::Status Close();

  void Get(std::string_view key, GetDone done);
  void Expect(std::string_view key) {
    if (!key.empty()) index_->Prefetch(HashOf(key));
  }
  void ExpectRecord(std::string_view key);
  void Apply(const Write& write, WriteDone done);
  void Flush(FlushDone done);
  void Scan(const ScanRequest& request, ScanDone done);
  void Compact(CompactDone done);
  EngineStats Stats() const;
  uint64_t max_value_bytes(size_t key_bytes) const;

 private:
  // A get that has to wait for the disk.
  struct ColdGet {
    std::string key;
    uint64_t hash;
    Lookup lookup;
    GetDone done;
  };
  // A write that has to wait for the disk or for room.
  struct PendingWrite {
    std::string key;
    std::optional<std::string> value;
    Write write;  // views of the two
    uint64_t hash;
    Lookup lookup;
    WriteDone done;
  };
  enum class WriteStep { kDone, kRead, kDeep, kRoom };
  // Which slot a write takes, and what is known of what it points to.
  struct Target {
    std::optional<Slot> slot;             // absent: a new one
    std::optional<DecodedRecord> record;  // of slot, if it is of the same key and in memory
    bool same_key = false;                // slot's record is of the same key
    bool hidden = false;                  // a newer record of the key may be where nobody has looked
    bool deep = false;                    // deep cold may have an older one
    uint32_t bytes = 0;                   // of slot's record; 0: unknown
  };

  uint64_t HashOf(std::string_view key) const;
  absl::Status CheckKey(std::string_view key) const;
  bool Enter(absl::Status& refusal);
  // Asks for the time only if the record expires at all.
  bool IsLive(const Record& record) const;

  // open.cc
  absl::Status OpenFiles();
  absl::Status ChooseBlockBytes(uint32_t& block_bytes) const;
  // What is read of the log, or of a checkpoint, and the index does not hold.
  struct Replayed {
    absl::flat_hash_set<uint64_t> blocks;                  // met so far
    absl::flat_hash_map<uint64_t, uint64_t> dead_records;  // by block
    std::vector<CompactionBatch::GraveNote> graves;

    bool from_checkpoint = false;
    bool exact = false;             // the checkpoint says all: nothing has happened since
    KnownBlocks known;              // until the log is open
    std::vector<uint64_t> covered;  // these
    std::vector<uint64_t> owed;     // see Compactor
    std::unique_ptr<CheckpointReader> checkpoint;
    Position newest = 0;  // of the slots of the checkpoint, in blocks that no roster speaks of
    uint64_t end_block = 0;
    uint64_t end_dead_bytes = 0;  // in it
  };
  absl::Status LoadCheckpoint(const Roster& roster, std::optional<CleanEnd> clean_end, Replayed& replayed);
  absl::Status ReadCheckpoint(const CheckpointReader& reader, const std::vector<uint64_t>& standing,
                              const Roster& roster, std::optional<CleanEnd> clean_end, Replayed& replayed);
  absl::Status LoadSlots(const CheckpointReader& reader, size_t first, size_t end,
                         const std::vector<uint64_t>& standing, uint64_t roster_below, bool exact,
                         SlotCounts::Totals& totals);
  absl::Status CheckNewest(const RecoveredLog& log, Position newest) const;
  size_t RecoveryThreads() const;
  absl::Status OpenLog(const Roster& roster, std::optional<CleanEnd> clean_end, Replayed& replayed);
  absl::StatusOr<RecoveredLog> ReplayLog(const LogSource& source, Replayed& replayed);
  absl::Status OpenCompactor(Replayed& replayed, Roster roster);

  // engine.cc
  void FillCold(EngineStats& stats) const;
  Chains chains() const { return {*log_, *cache_, buried_, *cold_}; }
  uint64_t headroom() const;
  bool MayCacheGrow(uint64_t bytes);

  // read.cc
  void ReadOn(std::unique_ptr<ColdGet> get, Lookup::Step step);
  void GoOn(std::unique_ptr<ColdGet> get, const absl::Status& status);
  void Promote(HashIndex::Latch& latch, const Record& record);
  std::optional<Entry> EntryOf(Lookup& lookup) const;
  absl::Status ReadForLookup(Lookup& lookup);

  // write.cc
  absl::Status CheckWrite(const Write& write) const;
  WriteStep TryWrite(uint64_t hash, const Write& write, Lookup& lookup, WriteResult& result);
  bool Holds(const Condition& condition, Lookup::Step step, const Lookup& lookup, WriteResult& result) const;
  Target Choose(std::string_view key, const Slots& slots, std::optional<Position> known) const;
  WriteStep Put(HashIndex::Latch& latch, uint64_t hash, const Write& write, const Target& target,
                WriteResult& result);
  void GoOn(std::unique_ptr<PendingWrite> pending, WriteStep step);
  void Acknowledge(Durability durability, const WriteResult& result, WriteDone done);

  // scan.cc
  struct Cursor;
  struct ScanBlock {
    BlockHold hold;
    std::shared_ptr<const BlockMemory> memory;  // nullptr: not resident
    uint32_t used = 0;
  };
  void ChooseEnd(Cursor& cursor);
  ScanBlock BlockAt(Cursor& cursor);
  absl::StatusOr<ScanPage> ScanFrom(const ScanRequest& request);
  absl::Status ScanLog(const ScanRequest& request, Cursor& cursor, ScanPage& page);
  absl::Status ScanDeep(const ScanRequest& request, Cursor& cursor, ScanPage& page);
  absl::Status IsInLog(std::string_view key, bool& in_log);
  absl::StatusOr<Cursor> DecodeCursor(const std::string& cursor) const;
  std::string EncodeCursor(const Cursor& cursor) const;
  absl::Status ScanChunk(const ScanRequest& request, std::string_view chunk, Cursor& cursor, ScanPage& page,
                         size_t& bytes, bool& full);
  absl::Status Confirm(const Record& record, Position position, Position end, std::optional<Entry>& entry);

  const Options options_;
  const World world_;
  MemoryBudget budget_;
  std::unique_ptr<FileLock> lock_;
  StoreIdentity identity_;
  std::unique_ptr<HashIndex> index_;
  std::unique_ptr<DeepCold> cold_;
  std::unique_ptr<RecordCache> cache_;
  std::unique_ptr<Heat> heat_;
  std::unique_ptr<BlockLog> log_;
  std::atomic<BlockLog*> room_maker_{nullptr};  // log_, when it is open; release, acquire by the cache
  absl::flat_hash_set<Position> buried_;        // see Chains; constant when the store is open
  SlotCounts counts_;
  GraveList graves_;
  BlindWrites blind_writes_;
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<Compactor> compactor_;
  std::unique_ptr<WarmUp> warm_up_;  // nullptr: nothing is known to have been hot
  mutable Gate gate_;                // of operations under way
  bool open_ = false;

  std::chrono::steady_clock::duration recovery_time_{};
  uint64_t recovered_slots_ = 0;
  uint64_t recovered_records_ = 0;
  absl::Status checkpoint_refusal_;
  uint64_t truncated_bytes_ = 0;

  struct Counters {
    std::atomic<uint64_t> gets{0}, hits_memory{0}, hits_disk{0}, hits_deep{0}, promoted{0}, misses{0},
        disk_reads{0};
    std::atomic<uint64_t> sets{0}, deletes{0}, updates_in_place{0}, conditions_failed{0};
  };
  mutable Counters count_;
};

// Relaxed: nobody draws conclusions from one counter about another.
inline void Count(std::atomic<uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace thermocline::storage
