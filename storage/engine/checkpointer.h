#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/engine/checkpoint.h"
#include "storage/engine/grave_list.h"
#include "storage/engine/slot_counts.h"
#include "storage/engine/store_files.h"
#include "storage/file_system.h"
#include "storage/index/hash_index.h"
#include "storage/log/block_log.h"
#include "storage/memory_budget.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// Writes checkpoints of a store in use, piece by piece, when the log has grown so far since the last one that
// reading it after a crash would take long.
//
// What a checkpoint says of a hash is right as of some moment between its beginning and its end, and
// everything that happened later is told by blocks that it does not name. So it begins and ends while the
// roster lists every block that compaction has written, and ends when all that its slots point to is on the
// disk.
//
// Not thread-safe, but for the last two: the compactor's, on whose executor it runs.
class Checkpointer {
 public:
  struct Parts {
    std::string directory;
    StoreIdentity identity;
    uint64_t log_bytes = 0;  // Options::checkpoint_log_bytes
    FileSystem& files;
    MemoryBudget& budget;
    HashIndex& index;
    BlockLog& log;
    SlotCounts& counts;
    GraveList& graves;
    const absl::flat_hash_set<Position>& buried;  // see Chains
  };

  // `covered` are the blocks that the checkpoint names from which the store was opened. `schedule` runs a
  // task on the compactor's executor, unless the compactor has stopped by then.
  using Schedule = std::function<void(absl::AnyInvocable<void()>)>;
  Checkpointer(const Parts& parts, std::vector<uint64_t> covered, Schedule schedule);

  // While the roster lists all: begins a checkpoint if it is time, or ends it if it has come so far. `debts`
  // gives what only the compactor knows.
  void Poll(absl::FunctionRef<CheckpointState()> debts);
  // What is under way would not be right; the next one is not tried at once.
  void GiveUp(const absl::Status& why);

  // Of a store in which nothing happens any more, all at once.
  absl::Status Write(CheckpointState state, const HotSet& hot);

  uint64_t finished() const { return finished_.load(std::memory_order_relaxed); }
  // OK, or why the last one failed.
  absl::Status status() const {
    MutexLock lock(mutex_);
    return status_;
  }

 private:
  using Clock = std::chrono::steady_clock;

  bool IsDue() const;
  absl::Status CheckSpace() const;
  absl::Status Begin();
  // True: all slots are written.
  absl::StatusOr<bool> Step();
  void GoOn(uint64_t attempt);
  absl::Status Finish(CheckpointState state);
  void End(const absl::Status& status);

  const Parts parts_;
  const Schedule schedule_;
  std::vector<uint64_t> covered_;  // ascending
  Clock::time_point last_;         // when a checkpoint was finished
  Clock::time_point not_before_{};

  std::unique_ptr<CheckpointWriter> writer_;
  MemoryBudget::Grant memory_;
  std::vector<uint64_t> covering_;
  std::vector<HashIndex::Shape> shapes_;
  uint64_t attempt_ = 0;
  bool on_disk_ = false;  // all slots, and what they point to
  size_t partition_ = 0;
  std::optional<uint64_t> hash_;  // where to go on in it; nullopt: at its beginning

  std::atomic<uint64_t> finished_{0};
  mutable Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::storage
