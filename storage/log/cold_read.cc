#include "storage/log/cold_read.h"

#include <utility>

namespace thermocline::storage {

absl::Status ColdRead::Now(uint64_t store_id) {
  auto range = block_->RangeAround(position_);
  if (!range.ok()) return range.status();
  range_ = *range;
  bytes_.resize(range_.end - range_.begin);
  if (absl::Status status = block_->reader->ReadAt(range_.begin, bytes_); !status.ok())
    return block_->ReadFailure(position_, status);
  return Arrived(store_id);
}

void ColdRead::Later(uint64_t store_id, DiskReads& disk, absl::AnyInvocable<void(absl::Status)> done) {
  auto range = block_->RangeAround(position_);
  // Not inside the call: a read of nothing at a place that always is there brings the error.
  range_ = range.ok() ? *range : ChunkTable::Range{0, 1};
  bytes_.resize(range_.end - range_.begin);
  disk.Submit({.file = block_->reader.get(),
               .offset = range_.begin,
               .out = bytes_,
               .done = [this, store_id, broken = range.status(),
                        done = std::move(done)](absl::Status status) mutable {
                 if (!broken.ok()) return done(broken);
                 done(status.ok() ? Arrived(store_id) : block_->ReadFailure(position_, status));
               }});
}

absl::Status ColdRead::Arrived(uint64_t store_id) {
  auto chunk = block_->ChunkIn(std::move(bytes_), range_.begin, position_, store_id);
  block_ = BlockHold();
  bytes_.clear();
  if (!chunk.ok()) return chunk.status();
  if (auto record = chunk->RecordAt(position_); !record.ok()) return record.status();
  chunk_ = *std::move(chunk);
  return absl::OkStatus();
}

}  // namespace thermocline::storage
