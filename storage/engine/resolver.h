#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "storage/clock.h"
#include "storage/engine/chains.h"
#include "storage/engine/deep_cold.h"
#include "storage/engine/grave_list.h"
#include "storage/engine/resolution.h"
#include "storage/engine/slot_counts.h"
#include "storage/executor.h"
#include "storage/gate.h"
#include "storage/index/hash_index.h"

namespace thermocline::storage {

// Resolves chains: afterwards each live key of a hash has one slot of its own, and nothing that lives stands
// behind another record. Thread-safe.
class Resolver {
 public:
  struct Parts {
    HashIndex& index;
    BlockLog& log;
    Chains chains;
    SlotCounts& counts;
    GraveList& graves;
    const DeepCold& cold;
    Executor& reads;
    DiskReads& disk;
    Clock& clock;
    Gate& gate;  // of operations under way
    std::function<uint64_t(std::string_view)> hash_of;
  };

  explicit Resolver(const Parts& parts) : parts_(parts) {}

  // Calls `done` on an executor, later. UNAVAILABLE: the gate is closed. Other errors as Engine.
  using Done = absl::AnyInvocable<void(absl::Status)>;
  void Resolve(uint64_t hash, Done done);

  // Groups resolved, and disk reads for them, since the start.
  uint64_t resolved() const { return resolved_.load(std::memory_order_relaxed); }
  uint64_t disk_reads() const { return disk_reads_.load(std::memory_order_relaxed); }

 private:
  struct Task {
    uint64_t hash;
    Resolution resolution;
    Done done;
  };
  enum class Step { kDone, kRead, kRoom };

  void GoOn(std::unique_ptr<Task> task);
  void End(std::unique_ptr<Task> task, const absl::Status& status);
  Step Try(Task& task);
  bool Reveal(HashIndex::Latch& latch, const Resolution::Hidden& hidden, bool shadow);
  void Settle(HashIndex::Latch& latch, uint64_t hash, const Slot& slot, bool newest, bool shadow);

  const Parts parts_;
  std::atomic<uint64_t> resolved_{0};
  std::atomic<uint64_t> disk_reads_{0};
};

}  // namespace thermocline::storage
