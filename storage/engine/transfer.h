#pragma once

#include <cstdint>
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
  void Demote(Position head, const Record& record, uint64_t hash) { Add(Kind::kDemote, head, record, hash); }
  // The key is gone: what the cold store has of it is removed, and its slot leaves the index.
  void Forget(Position head, const Record& record, uint64_t hash) { Add(Kind::kForget, head, record, hash); }
  // The key lives in the log alone: what the cold store has of it is removed, and the slot says so.
  void Uncover(Position head, const Record& record, uint64_t hash) {
    Add(Kind::kUncover, head, record, hash);
  }

  bool empty() const { return items_.empty(); }
  // Time to flush.
  bool full() const;

  // Carries out what was gathered. Hashes whose chains may have led through a demoted record meanwhile are
  // added to `doubtful`. Errors as ColdStore: then the index is as it was.
  absl::Status Flush(std::vector<uint64_t>& doubtful);
  // Forgets what was gathered, and frees its memory.
  void Clear();

 private:
  enum class Kind : uint8_t { kDemote, kForget, kUncover };
  struct Item {
    uint64_t hash;
    Position head;
    Version version;
    uint64_t expires_at_ms;
    uint64_t begin;  // of the key and, behind it, the value, in bytes_
    uint32_t key_bytes;
    uint32_t value_bytes;
    Kind kind;
  };
  static_assert(sizeof(Item) == 56);

  void Add(Kind kind, Position head, const Record& record, uint64_t hash);
  std::string_view KeyOf(const Item& item) const { return {bytes_.data() + item.begin, item.key_bytes}; }
  absl::Status WriteOut();
  void Settle(const Item& item, std::vector<uint64_t>& doubtful);

  const Parts parts_;
  const size_t most_items_;
  const size_t most_bytes_;
  std::vector<Item> items_;
  uint64_t demotions_ = 0;  // of them
  std::string bytes_;
};

}  // namespace thermocline::storage
