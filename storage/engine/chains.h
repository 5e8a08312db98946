#pragma once

#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"

#include "storage/cache/record_cache.h"
#include "storage/engine/deep_cold.h"
#include "storage/index/ordered_table.h"
#include "storage/log/block_log.h"

namespace thermocline::storage {

// The records that one hash leads to: the heads, which the index knows, and behind each unresolved head what
// it displaced without a comparison of keys. storage/README.md tells how chains come about and end.
struct Chains {
  const BlockLog& log;
  const RecordCache& cache;
  // Dead records that a chain may still lead to; recovery has found their graves.
  const absl::flat_hash_set<Position>& buried;
  // Where the records are that have left the log.
  const DeepCold& cold;

  // The record at `position` if it is in memory, in its block or in the cache. Under a latch. The bytes are
  // those it takes there, where it is.
  std::optional<DecodedRecord> InMemory(Position position, Use use) const {
    auto record = log.Resident(position);
    if (!record) return cache.Find(position, use);
    if (use == Use::kCount) log.Touch(position);
    return record;
  }
};

// True if chains begin at the same records and lead on in the same way.
inline bool SameHeads(const Slots& a, const Slots& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Slot& one, const Slot& other) {
    return one.position == other.position && one.unresolved == other.unresolved;
  });
}

// Walks chains from the newest record to the oldest over all of them, so that of each key the newest comes
// first. Chains below their heads never change, so a walk goes on as long as the heads are the same.
class ChainWalk {
 public:
  ChainWalk() = default;
  explicit ChainWalk(const Slots& heads) {
    for (const Slot& slot : heads) frontier_.push_back({slot.position, slot.unresolved, 0});
  }

  // Moves to the next record that stands; false: there is none. Under a latch.
  bool Next(const Chains& chains) {
    while (!frontier_.empty()) {
      const auto newest =
          std::max_element(frontier_.begin(), frontier_.end(),
                           [](const Link& a, const Link& b) { return a.position < b.position; });
      at_ = *newest;
      frontier_.erase(newest);
      if (chains.log.Stands(at_.position) && !chains.buried.contains(at_.position)) return true;
    }
    return false;
  }

  Position position() const { return at_.position; }
  // The record that led to position(); 0: it is a head.
  Position from() const { return at_.from; }

  // `record` is what stands at position(): what it displaced comes next, if that may hold other keys.
  void GoBehind(const Record& record) {
    if (at_.on && record.unresolved && record.link() != 0)
      frontier_.push_back({record.link(), record.deep, at_.position});
  }

 private:
  struct Link {
    Position position = 0;
    bool on = false;  // the walk may go on behind it
    Position from = 0;
  };

  absl::InlinedVector<Link, 4> frontier_;
  Link at_;
};

}  // namespace thermocline::storage
