#include "storage/segment/operand.h"

#include <algorithm>

#include "storage/segment/kernels.h"

namespace thermocline::storage::segment {

absl::Status Operand::Fill() {
  if (!pending()) return absl::OkStatus();
  absl::Status status = stream_->Next(part_);
  if (is_bitmap()) part_.last = part_.container() + (kContainerIds - 1);
  new_list_ = true;
  return status;
}

size_t Operand::CountUpTo(uint64_t id) const {
  if (part_.last <= id) return part_.count;
  return FirstAtLeast(ids(), 0, id + 1);  // id is below last, so there is a next one
}

Part Operand::TakeIds(size_t count) {
  Part taken = part_;
  taken.count = count;
  taken.last = part_.ids[count - 1];
  DropIds(count);
  return taken;
}

void Operand::DropIds(size_t count) {
  part_.ids += count;
  part_.count -= count;
  if (part_.count == 0) return Drop();
  part_.first = part_.ids[0];
}

void Operand::Expand() {
  stream_->Expand();
  Drop();
}

void Operand::SkipTo(uint64_t id) {
  if (part_.last < id) {
    stream_->SkipTo(id);
    return Drop();
  }
  if (is_ids() && part_.first < id) DropIds(FirstAtLeast(ids(), 0, id));
}

}  // namespace thermocline::storage::segment
