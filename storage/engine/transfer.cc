#include "storage/engine/transfer.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace thermocline::storage {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

// What the cold store takes more for a record that expires.
constexpr uint64_t kBytesOfExpiry = 48;

std::optional<Slot> SlotAt(const Slots& slots, Position position) {
  for (const Slot& slot : slots) {
    if (slot.position == position) return slot;
  }
  return std::nullopt;
}

}  // namespace

Transfer::Transfer(const Parts& parts) : parts_(parts), most_bytes_(parts.cold.transfer_bytes()) {}

bool Transfer::full() const {
  return (demoted_.size() + removed_.size()) * kBytesPerRecord + kept_ >= most_bytes_;
}

std::string_view Transfer::Keep(std::string_view bytes) {
  if (bytes_.empty() || bytes_.back().capacity() - bytes_.back().size() < bytes.size()) {
    bytes_.emplace_back().reserve(std::max(kPieceBytes, bytes.size()));
  }
  std::string& piece = bytes_.back();
  piece += bytes;
  kept_ += bytes.size();
  return std::string_view(piece).substr(piece.size() - bytes.size());
}

void Transfer::Demote(Position head, const Record& record, uint64_t hash) {
  if (demoted_.empty()) {
    // What is reserved and never written takes no memory.
    demoted_.reserve(most_bytes_ / kBytesPerRecord);
    demoted_heads_.reserve(most_bytes_ / kBytesPerRecord);
  }
  demoted_.push_back({.key = Keep(record.key),
                      .value = Keep(record.value),
                      .version = record.version,
                      .expires_at_ms = record.expires_at_ms});
  demoted_heads_.push_back({.hash = hash, .position = head, .kind = Kind::kDemote});
  if (record.expires_at_ms != 0) kept_ += kBytesOfExpiry;
}

void Transfer::Remove(Kind kind, Position head, const Record& record, uint64_t hash) {
  removed_.push_back({.key = Keep(record.key), .version = record.version});
  removed_heads_.push_back({.hash = hash, .position = head, .kind = kind});
}

absl::Status Transfer::Flush(std::vector<uint64_t>& doubtful) {
  absl::Status status = FlushDemoted(doubtful);
  if (status.ok()) status = FlushRemoved();
  demoted_ = {};
  demoted_heads_ = {};
  removed_ = {};
  removed_heads_ = {};
  bytes_ = {};
  kept_ = 0;
  return status;
}

absl::Status Transfer::FlushDemoted(std::vector<uint64_t>& doubtful) {
  if (demoted_.empty()) return absl::OkStatus();
  // From the moment when the cold store has them, they are counted twice.
  const auto moving = static_cast<int64_t>(demoted_.size());
  parts_.counts.Moving(moving);
  absl::Status status = parts_.cold.store()->Put(demoted_);
  parts_.cold.NoteChange();
  for (const Head& head : demoted_heads_) {
    HashIndex::Latch latch(parts_.index, head.hash);
    if (status.ok()) {
      Leave(latch, head, doubtful);
    } else {
      // Whether it is there, nobody knows.
      for (const Slot& slot : latch.Find()) SetShadow(latch, slot, true);
    }
  }
  parts_.counts.Moving(-moving);
  return status;
}

absl::Status Transfer::FlushRemoved() {
  if (removed_.empty()) return absl::OkStatus();
  if (absl::Status status = parts_.cold.store()->Delete(removed_); !status.ok()) return status;
  parts_.cold.NoteChange();
  for (const Head& head : removed_heads_) {
    HashIndex::Latch latch(parts_.index, head.hash);
    // Another head may have been set meanwhile; it goes on saying what this one said.
    const auto own = SlotAt(latch.Find(), head.position);
    if (!own) continue;
    if (head.kind == Kind::kForget) {
      Erase(latch, *own);
    } else if (!own->unresolved) {
      SetShadow(latch, *own, false);
    }
  }
  return absl::OkStatus();
}

void Transfer::Leave(HashIndex::Latch& latch, const Head& head, std::vector<uint64_t>& doubtful) {
  const Slots slots = latch.Find();
  if (const auto own = SlotAt(slots, head.position)) {
    parts_.cold.NoteDemoted(head.position + 1);
    return Erase(latch, *own);
  }
  // Superseded meanwhile: what the cold store has got is out of date already.
  for (const Slot& slot : slots) SetShadow(latch, slot, true);
  const bool doubt =
      std::any_of(slots.begin(), slots.end(), [](const Slot& slot) { return slot.unresolved; });
  if (doubt) doubtful.push_back(head.hash);
}

void Transfer::Erase(HashIndex::Latch& latch, const Slot& slot) {
  latch.Erase(slot.position);
  parts_.counts.Changed(slot, std::nullopt);
  if (!slot.tombstone) parts_.log.MarkDead(slot.position, 0);
}

void Transfer::SetShadow(HashIndex::Latch& latch, const Slot& slot, bool shadow) {
  Slot changed = slot;
  changed.shadow = shadow;
  latch.Replace(slot.position, changed);
  parts_.counts.Changed(slot, changed);
}

}  // namespace thermocline::storage
