#include "storage/engine/shadow_sweep.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "storage/log/chunk_reader.h"

namespace thermocline::storage {
namespace {

constexpr uint64_t kSliceBytes = 4 << 20;

// Between rounds that had nothing new to look at.
constexpr int kStepsBetweenRounds = 100;

}  // namespace

bool ShadowSweep::MayBegin(Position end) {
  if (end - last_end_ < parts_.block_bytes && --steps_to_wait_ > 0) return false;
  last_end_ = end;
  steps_to_wait_ = kStepsBetweenRounds;
  at_ = 1;
  return true;
}

absl::Status ShadowSweep::Step() {
  if (!parts_.transfer.cold.exists() || parts_.transfer.counts.shadows() == 0) return absl::OkStatus();
  // Only what is on the disk: an older record must not go for one that a crash could take.
  const Position end = parts_.transfer.log.horizon();
  if (at_ == 0 && !MayBegin(end)) return absl::OkStatus();
  uint64_t scanned = 0;
  absl::Status status;
  while (at_ != 0 && scanned < kSliceBytes && !transfer_.full() && status.ok()) {
    status = StepInBlock(end, scanned);
  }
  // Each batch that removes anything costs the cold store a file and some syncs.
  if (at_ == 0 || transfer_.full()) status.Update(Flush());
  if (!status.ok()) at_ = 0;
  return status;
}

absl::Status ShadowSweep::Flush() {
  std::vector<uint64_t> doubtful;  // none: nothing is demoted
  return transfer_.Flush(doubtful);
}

absl::Status ShadowSweep::StepInBlock(Position end, uint64_t& scanned) {
  BlockHold block;
  std::shared_ptr<const BlockMemory> memory;
  {
    HashIndex::Latch latch(parts_.transfer.index, 0);
    block = parts_.transfer.log.HoldFrom(at_ / parts_.block_bytes);
    if (block && block->resident.load(std::memory_order_acquire) != nullptr) memory = block->memory;
  }
  if (!block || block->position_of(kFirstChunkOffset) >= end) {
    at_ = 0;
    return absl::OkStatus();
  }
  at_ = std::max(at_, block->position_of(kFirstChunkOffset));
  const Position block_end = std::min(end, block->position_of(parts_.transfer.log.used_of(*block)));
  ChunkReader chunks(*block, std::move(memory), static_cast<uint32_t>(at_ - block->position_of(0)),
                     static_cast<uint32_t>(block_end - std::min(block_end, block->position_of(0))),
                     parts_.store_id);
  while (at_ < block_end && scanned < kSliceBytes && !transfer_.full()) {
    auto chunk = chunks.Next();
    if (!chunk.ok()) return chunk.status();
    if (!chunk->has_value()) {
      at_ = block_end;
      break;
    }
    const auto look = [&](Position position, const DecodedRecord& decoded) {
      if (!decoded.record.grave) Look(position, decoded.record);
      return absl::OkStatus();
    };
    if (absl::Status status = VisitRecords(**chunk, at_, look); !status.ok()) return status;
    at_ += (*chunk)->size();
    scanned += (*chunk)->size();
  }
  if (at_ >= block_end) at_ = block->position_of(parts_.block_bytes);
  return absl::OkStatus();
}

void ShadowSweep::Look(Position position, const Record& record) {
  const uint64_t hash = parts_.hash_of(record.key);
  {
    HashIndex::Latch latch(parts_.transfer.index, hash);
    bool found = false;
    for (const Slot& slot : latch.Find()) {
      found |= slot.position == position && slot.shadow && !slot.unresolved;
    }
    if (!found) return;
  }
  transfer_.Uncover(position, record, hash);
}

}  // namespace thermocline::storage
