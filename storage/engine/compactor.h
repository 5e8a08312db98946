#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/engine/blind_writes.h"
#include "storage/engine/checkpointer.h"
#include "storage/engine/compaction_batch.h"
#include "storage/engine/resolver.h"
#include "storage/engine/shadow_sweep.h"
#include "storage/engine/store_files.h"
#include "storage/engine/victims.h"
#include "storage/executor.h"
#include "storage/gate.h"
#include "storage/thread_annotations.h"
#include "storage/types.h"

namespace thermocline::storage {

// Gives back the disk space of what was overwritten, deleted or has expired: chooses the blocks that are
// worth it, several at a time, has their living records copied (CompactionBatch), publishes the new roster of
// blocks and removes the files of the old ones. When the index has used up its share of memory, the records
// of the oldest blocks move to the cold store in the same way. And resolves chains, and finds out what is in
// the cold store for nothing, when there is nothing else to do. All of it as short tasks on an executor of
// its own, one at a time.
//
// When writers make garbage faster than it is collected, they are given room only as fast as space is won.
//
// Thread-safe, but for Start and Stop.
class Compactor {
 public:
  struct Parts {
    CompactionBatch::Parts batch;
    std::string directory;
    Executor& background;
    Resolver& resolver;
    BlindWrites& blind_writes;
    Checkpointer::Parts checkpoint;
  };
  struct Counters {
    uint64_t blocks_freed, bytes_freed, records_moved, records_demoted, records_dropped, graves_written,
        bytes_written, checkpoints;
    bool running;
    absl::Status status;             // of the last batch
    absl::Status checkpoint_status;  // of the last checkpoint
  };

  // `covered` as Checkpointer.
  Compactor(const Parts& parts, Roster roster, std::vector<uint64_t> covered);

  // Before Start: a grave that recovery has met, and a block that stands and is owed.
  void NoteGrave(const CompactionBatch::GraveNote& note);
  void NoteOwed(uint64_t sequence) { owed_.push_back(sequence); }
  // RESOURCE_EXHAUSTED: the budget has no room for what a batch needs.
  absl::Status Start();
  // Takes no more tasks, waits for the one that runs, and answers who waits. A batch under way is given up.
  void Stop();
  // After Stop, when the log was closed in order: writes a checkpoint that says all.
  absl::Status Checkpoint(const CleanEnd& end, const HotSet& hot);

  // Compacts every block in which something is dead, and calls `done` when that is over. UNAVAILABLE if the
  // store closes before; otherwise errors as File.
  using Done = absl::AnyInvocable<void(absl::StatusOr<CompactionReport>)>;
  void Compact(Done done);

  Counters counters() const;
  // Grows before blocks leave the log; also across restarts.
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

 private:
  using Aim = CompactionBatch::Aim;

  static void Post(const std::shared_ptr<Gate>& gate, Executor& background, absl::AnyInvocable<void()> step,
                   std::chrono::milliseconds delay = {});
  void Schedule(absl::AnyInvocable<void()> step, std::chrono::milliseconds delay = {});
  void Poll();
  void PollAgain();
  Aim ChooseAim(bool debt);
  std::vector<BlockLog::Usage> Oldest() const;
  std::vector<BlockLog::Usage> Victims(bool forced);
  double index_fill() const;
  void PutOffDemotion(const absl::Status& status);
  void Credit(const CompactionBatch::Work& before);
  void NoteDemotionRate();
  void Idle();
  void ReclaimExpired();
  void Throttle();
  void Begin(Aim aim, const std::vector<BlockLog::Usage>& victims);
  void Step();
  void Resolve(std::vector<uint64_t> hashes, void (Compactor::*then)());
  void Commit();
  void AwaitDisk();
  absl::Status PublishWithout(const std::vector<uint64_t>& victims);
  void Publish();
  void Remove();
  void End(const absl::Status& status);
  void GiveUpBatch();
  CheckpointState Debts() const;
  void ServeForced(const absl::Status& status);
  void ResolveSome();

  const Parts parts_;
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();

  mutable Mutex mutex_;
  std::vector<Done> waiting_ ABSL_GUARDED_BY(mutex_);
  absl::Status status_ ABSL_GUARDED_BY(mutex_);

  // For as long as the store is open: compaction must not fail for want of memory.
  MemoryBudget::Grant memory_;

  // Of the task that runs.
  Roster roster_;
  std::unique_ptr<CompactionBatch> batch_;
  uint64_t end_number_ = 0;  // behind those that were set aside for the batch
  std::vector<Done> forced_by_;
  CompactionReport report_;  // for forced_by_
  std::chrono::steady_clock::time_point forced_since_;
  uint64_t forced_below_ = 0;  // blocks that are newer than the demand do not count, or it might never end
  bool poll_scheduled_ = false;
  bool demoted_last_ = false;  // the batch under way, or the last one, demotes
  int demote_failures_ = 0;    // in a row
  double demoted_per_second_ = 50'000;
  std::chrono::steady_clock::time_point batch_began_{};
  std::chrono::steady_clock::time_point demote_not_before_{};
  int batches_since_idle_ = 0;
  int polls_until_reclaim_ = 0;
  ShadowSweep shadows_;
  uint64_t numbers_factor_ = 1;  // doubled when the numbers were too few
  std::vector<uint64_t> owed_;   // victims of batches that failed: the next one takes them all
  int failures_ = 0;             // in a row
  std::chrono::steady_clock::time_point not_before_{};
  // Where to look next for unresolved slots that no list names, and how many rounds through the index to go.
  uint64_t resolve_from_ = 0;
  int rounds_ = 2;  // after a start nothing is listed
  bool resolving_ = false;
  Checkpointer checkpointer_;
  // Bytes of graves by the block of the dead record and the block that holds the grave.
  absl::flat_hash_map<uint64_t, absl::flat_hash_map<uint64_t, uint64_t>> grave_bytes_;

  std::atomic<uint64_t> blocks_freed_{0}, bytes_freed_{0}, records_moved_{0}, records_demoted_{0},
      records_dropped_{0};
  std::atomic<uint64_t> graves_written_{0}, bytes_written_{0};
  std::atomic<bool> running_{false};
  std::atomic<uint64_t> generation_;  // release when a roster is published, acquire by scans
};

}  // namespace thermocline::storage
