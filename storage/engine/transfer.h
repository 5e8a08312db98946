#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "storage/engine/deep_cold.h"
#include "storage/engine/slot_counts.h"
#include "storage/index/hash_index.h"
#include "storage/log/block_log.h"

namespace thermocline::storage {

// What compaction has for the cold store, gathered until it is worth a batch: first the cold store has it on
// the disk, then the index follows.
//
// Every record must be on the disk already: its older version in the cold store may go for it. Not
// thread-safe; Flush blocks on the disk.
class Transfer {
 public:
  struct Parts {
    HashIndex& index;
    BlockLog& log;
    SlotCounts& counts;
    DeepCold& cold;
  };

  explicit Transfer(const Parts& parts);

  // Each takes the newest record of a key, which stands at `head`.

  // The record moves to the cold store, and its slot leaves the index.
  void Demote(Position head, const Record& record, uint64_t hash);
  // The key is gone: what the cold store has of it is removed, and its slot leaves the index.
  void Forget(Position head, const Record& record, uint64_t hash) {
    Remove(Kind::kForget, head, record, hash);
  }
  // The key lives in the log alone: what the cold store has of it is removed, and the slot says so.
  void Uncover(Position head, const Record& record, uint64_t hash) {
    Remove(Kind::kUncover, head, record, hash);
  }

  // Time to flush: it takes as much memory as it may, and the last record perhaps more.
  bool full() const;

  // Carries out what was gathered; nothing is left, also if it fails. Hashes whose chains may have led
  // through a demoted record meanwhile are added to `doubtful`. Errors as ColdStore: what could not be
  // demoted or removed stays in the index, and is known to be doubtful in the cold store.
  absl::Status Flush(std::vector<uint64_t>& doubtful);

 private:
  enum class Kind : uint8_t { kDemote, kForget, kUncover };
  struct Head {
    uint64_t hash;
    Position position;
    Kind kind;
  };
  // Every record costs as much beside its bytes: as a head, as the cold store takes it, and to be sorted
  // there.
  static constexpr uint64_t kBytesPerRecord = sizeof(Head) + sizeof(ColdRecord) + 16;

  void Remove(Kind kind, Position head, const Record& record, uint64_t hash);
  std::string_view Keep(std::string_view bytes);
  absl::Status FlushDemoted(std::vector<uint64_t>& doubtful);
  absl::Status FlushRemoved();
  void Leave(HashIndex::Latch& latch, const Head& head, std::vector<uint64_t>& doubtful);
  void Erase(HashIndex::Latch& latch, const Slot& slot);
  void SetShadow(HashIndex::Latch& latch, const Slot& slot, bool shadow);

  const Parts parts_;
  const uint64_t most_bytes_;
  std::vector<ColdRecord> demoted_;
  std::vector<Head> demoted_heads_;
  std::vector<ColdRemoval> removed_;
  std::vector<Head> removed_heads_;
  std::deque<std::string> bytes_;  // pieces that do not move; records are views of them
  uint64_t kept_ = 0;              // bytes in them
};

}  // namespace thermocline::storage
