#include "storage/engine/transfer.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace thermocline::storage {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

}  // namespace

Transfer::Transfer(const Parts& parts) : parts_(parts), most_bytes_(parts.cold.transfer_bytes()) {}

bool Transfer::full() const { return heads_.size() * kBytesPerRecord + kept_ >= most_bytes_; }

std::string_view Transfer::Keep(std::string_view bytes) {
  if (bytes_.empty() || bytes_.back().capacity() - bytes_.back().size() < bytes.size()) {
    bytes_.emplace_back().reserve(std::max(kPieceBytes, bytes.size()));
    // What is reserved and never written takes no memory.
    heads_.reserve(most_bytes_ / kBytesPerRecord);
  }
  std::string& piece = bytes_.back();
  piece += bytes;
  kept_ += bytes.size();
  return std::string_view(piece).substr(piece.size() - bytes.size());
}

void Transfer::Demote(Position head, const Record& record, uint64_t hash) {
  if (demoted_.empty()) demoted_.reserve(most_bytes_ / kBytesPerRecord);
  demoted_.push_back({.key = Keep(record.key),
                      .value = Keep(record.value),
                      .version = record.version,
                      .expires_at_ms = record.expires_at_ms});
  heads_.emplace_back(hash, head, Kind::kDemote);
}

void Transfer::Remove(Kind kind, Position head, const Record& record, uint64_t hash) {
  removed_.push_back({.key = Keep(record.key), .version = record.version});
  heads_.emplace_back(hash, head, kind);
}

absl::Status Transfer::WriteOut() {
  if (!demoted_.empty()) {
    if (absl::Status status = parts_.cold.store()->Put(demoted_); !status.ok()) return status;
  }
  if (removed_.empty()) return absl::OkStatus();
  if (absl::Status status = parts_.cold.store()->Delete(removed_); !status.ok()) return status;
  parts_.cold.NoteRemovals();
  return absl::OkStatus();
}

absl::Status Transfer::Flush(std::vector<uint64_t>& doubtful) {
  if (heads_.empty()) return absl::OkStatus();
  // From the moment when the cold store has them, they are counted twice.
  const auto moving = static_cast<int64_t>(demoted_.size());
  parts_.counts.Moving(moving);
  absl::Status status = WriteOut();
  // What the cold store has taken is of no more use, and its memory is better free.
  demoted_ = {};
  removed_ = {};
  bytes_ = {};
  kept_ = 0;
  for (const Head& head : std::exchange(heads_, {})) {
    if (status.ok()) Settle(head, doubtful);
  }
  parts_.counts.Moving(-moving);
  return status;
}

void Transfer::Settle(const Head& head, std::vector<uint64_t>& doubtful) {
  HashIndex::Latch latch(parts_.index, head.hash);
  const Slots slots = latch.Find();
  const auto own = std::find_if(slots.begin(), slots.end(),
                                [&](const Slot& slot) { return slot.position == head.position; });
  if (own != slots.end() && head.kind != Kind::kUncover) {
    if (head.kind == Kind::kDemote) parts_.cold.NoteDemoted(head.position + 1);
    latch.Erase(head.position);
    parts_.counts.Changed(*own, std::nullopt);
    if (!own->tombstone) parts_.log.MarkDead(head.position, 0);
    return;
  }
  const auto set_shadow = [&](const Slot& slot, bool shadow) {
    Slot changed = slot;
    changed.shadow = shadow;
    latch.Replace(slot.position, changed);
    parts_.counts.Changed(slot, changed);
  };
  if (head.kind == Kind::kUncover) {
    if (own != slots.end() && !own->unresolved) set_shadow(*own, false);
    return;
  }
  if (head.kind == Kind::kForget) return;  // set again meanwhile, by who took over what the slot says
  // Superseded meanwhile: what the cold store has got is out of date already.
  for (const Slot& slot : slots) set_shadow(slot, true);
  const bool doubt =
      std::any_of(slots.begin(), slots.end(), [](const Slot& slot) { return slot.unresolved; });
  if (doubt) doubtful.push_back(head.hash);
}

}  // namespace thermocline::storage
