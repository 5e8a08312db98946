#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/cache/doorkeeper.h"
#include "storage/cold/cold_store.h"
#include "storage/file_system.h"
#include "storage/log/format.h"
#include "storage/memory_budget.h"
#include "storage/options.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// The cold store as the engine knows it: there is none until the first record moves there; then it gets
// memory as its keys grow in number, and the index has to do with the rest.
//
// What the index holds always wins over what the cold store holds. Only who compacts writes to it.
class DeepCold {
 public:
  struct Parts {
    std::string directory;  // of the cold store
    uint64_t store_id = 0;
    uint32_t block_bytes = 0;
    uint64_t index_bytes = 0;  // Options::index_bytes
    FileSystem& files;
    MemoryBudget& budget;
  };

  explicit DeepCold(const Parts& parts) : parts_(parts) {}

  // Opens the store if there is one. Before any other use. RESOURCE_EXHAUSTED: the budget is too small for
  // it; others as ColdStore.
  absl::Status OpenIfPresent();
  // Makes the store if there is none. False: the budget has not enough free memory yet, try again. Errors as
  // ColdStore.
  absl::StatusOr<bool> Make();
  // Nobody may use the store any more.
  absl::Status Close();

  // nullptr: there is none yet. Whoever finds no slot of a key in the index, under its latch, and then finds
  // no store here, knows that the key is not in one. Thread-safe.
  ColdStore* store() const { return store_.load(std::memory_order_acquire); }
  bool exists() const { return store() != nullptr; }

  // How many slots the index may have before records must move. UINT64_MAX: memory is too small for deep
  // cold. Thread-safe.
  uint64_t slots_limit() const;

  // True if a key with this hash was asked for a short while ago already: it should come back. Thread-safe.
  bool IsReadAgain(uint64_t hash) { return doorkeeper_ != nullptr && doorkeeper_->Seen(hash); }

  // For scans, which may not miss what moves while they look elsewhere. Thread-safe.

  // Everything that was demoted since the store was opened stood in the log before here, or was there when it
  // was opened.
  Position demoted_below() const { return demoted_below_.load(std::memory_order_acquire); }
  void NoteDemoted(Position below) {
    if (below > demoted_below()) demoted_below_.store(below, std::memory_order_release);
  }
  // Grows after each change of the store, before slots leave the index for it.
  uint64_t changes() const { return changes_.load(std::memory_order_acquire); }
  void NoteChange() { changes_.fetch_add(1, std::memory_order_acq_rel); }

  // Why nothing could move here the last time, or OK. Thread-safe.
  absl::Status status() const {
    MutexLock lock(mutex_);
    return status_;
  }
  void NoteStatus(const absl::Status& status) {
    MutexLock lock(mutex_);
    status_ = status;
  }

  // Gives the store memory for the keys it has, if the budget can spare it.
  void Grow();

  // What may be on its way to the store at a time; taken from the budget as long as there is one.
  uint64_t transfer_bytes() const;

 private:
  using Share = MemoryBudget::Share;

  // INVALID_ARGUMENT if the memory limit leaves no room for Options::index_bytes.
  absl::Status CheckMemory() const;
  // What index and cold store may take together.
  uint64_t SharedBytes() const;
  // The most that the store gets of it, and what it should have for so many keys.
  uint64_t MostBytes() const { return std::max(kMinColdMemoryBytes, SharedBytes() * 3 / 10); }
  uint64_t WantedBytes(uint64_t keys) const;
  uint64_t DoorkeeperBytes() const;
  bool Gather(Share share, uint64_t& gathered, uint64_t wanted);

  const Parts parts_;
  std::unique_ptr<ColdStore> owned_;
  std::unique_ptr<Doorkeeper> doorkeeper_;  // as the store
  std::vector<MemoryBudget::Grant> memory_;
  uint64_t transfers_ = 0;  // bytes of them that are taken for transfers
  uint64_t granted_ = 0;    // and for the store and the doorkeeper
  // Release when the store is open; acquire by everybody else.
  std::atomic<ColdStore*> store_{nullptr};
  // Release when it changes, acquire by scans; one thread at a time changes it.
  std::atomic<Position> demoted_below_{0};
  std::atomic<uint64_t> changes_{0};

  mutable Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::storage
