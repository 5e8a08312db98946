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

  // Time to flush.
  bool full() const;

  // Carries out what was gathered. Hashes whose chains may have led through a demoted record meanwhile are
  // added to `doubtful`. Errors as ColdStore: then the index is as it was. Nothing is left in any case.
  absl::Status Flush(std::vector<uint64_t>& doubtful);

 private:
  enum class Kind : uint64_t { kDemote, kForget, kUncover };
  struct Head {
    Head(uint64_t of_hash, Position at, Kind what) : hash(of_hash), position(at), kind(what) {}

    uint64_t hash;
    Position position : 62;
    Kind kind : 2;
  };
  static_assert(sizeof(Head) == 16);
  // Every record costs as much beside its bytes: as a head, as the cold store takes it, and to be sorted
  // there.
  static constexpr uint64_t kBytesPerRecord = sizeof(Head) + sizeof(ColdRecord) + 16;

  void Remove(Kind kind, Position head, const Record& record, uint64_t hash);
  std::string_view Keep(std::string_view bytes);
  absl::Status WriteOut();
  void Settle(const Head& head, std::vector<uint64_t>& doubtful);

  const Parts parts_;
  const uint64_t most_bytes_;
  std::vector<Head> heads_;
  std::vector<ColdRecord> demoted_;
  std::vector<ColdRemoval> removed_;
  std::deque<std::string> bytes_;  // pieces that do not move; records are views of them
  uint64_t kept_ = 0;              // bytes in them
};

}  // namespace thermocline::storage
