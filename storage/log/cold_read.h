#pragma once

#include <optional>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"

#include "storage/disk_reads.h"
#include "storage/log/block.h"

namespace thermocline::storage {

// Brings the record at a position from the disk, verified, in one read of little more than its chunk. One
// read at a time; not thread-safe. Must stay where it is while a read is under way.
class ColdRead {
 public:
  // What the next read is to bring. Under the latch that the position was found under.
  void Aim(BlockHold block, Position position) {
    block_ = std::move(block);
    position_ = position;
  }

  // Errors as Engine. Blocks.
  absl::Status Now(uint64_t store_id);
  // Calls `done`, as DiskReads does.
  void Later(uint64_t store_id, DiskReads& disk, absl::AnyInvocable<void(absl::Status)> done);

  // What was read: it holds a record at the position that was aimed at. Empty before, and after Take.
  const std::optional<ColdChunk>& chunk() const { return chunk_; }
  std::optional<ColdChunk> Take() { return std::exchange(chunk_, std::nullopt); }

 private:
  absl::Status Arrived(uint64_t store_id);

  BlockHold block_;
  Position position_ = 0;
  ChunkTable::Range range_{};
  std::string bytes_;
  std::optional<ColdChunk> chunk_;
};

}  // namespace thermocline::storage
