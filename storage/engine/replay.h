#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"

#include "storage/engine/compaction_batch.h"
#include "storage/engine/slot_counts.h"
#include "storage/index/hash_index.h"
#include "storage/log/log_visitor.h"

namespace thermocline::storage {

// Puts the records of the log into the index, in their order, and notes what else they say. Records of
// different partitions of the index have nothing to do with one another: their order does not matter.
class Replay {
 public:
  struct Parts {
    HashIndex& index;
    uint32_t block_bytes;
    uint64_t memory_limit;
    bool from_checkpoint;  // the index has slots of a checkpoint
    bool shadows;          // deep cold may have any of the keys
    size_t workers;
    absl::flat_hash_set<uint64_t>& blocks;  // met so far; BeginBlock adds to it
  };
  explicit Replay(const Parts& parts) : parts_(parts), found_(parts.workers) {}

  void BeginBlock(uint64_t sequence) { parts_.blocks.insert(sequence); }
  // Some records of one partition. Thread-safe for different workers and partitions, but not at the same time
  // as BeginBlock.
  absl::Status Visit(size_t worker, std::span<const LoggedRecord> records);

  struct Found {
    SlotCounts::Totals changes;
    absl::flat_hash_map<uint64_t, uint64_t> dead_records;  // by block
    std::vector<CompactionBatch::GraveNote> graves;
    absl::flat_hash_set<Position> buried;  // see Chains
  };
  // Of all workers; once, at the end.
  Found Take();

 private:
  struct alignas(64) Findings : Found {};

  void Bury(const LoggedRecord& grave, HashIndex::Latch& latch, Found& found) const;
  void Put(const LoggedRecord& record, HashIndex::Latch& latch, Found& found) const;
  void Inter(Position dead, Found& found) const;
  uint64_t BlockOf(Position position) const { return position / parts_.block_bytes; }

  const Parts parts_;
  std::vector<Findings> found_;
};

}  // namespace thermocline::storage
