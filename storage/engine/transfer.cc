#include "storage/engine/transfer.h"

#include <algorithm>
#include <optional>

namespace thermocline::storage {
namespace {

// An item, what it looks like to the cold store, and what that takes to sort it.
constexpr uint64_t kBytesPerItem = 56 + 48 + 24 + 16;

// Of the memory, for items; the rest is for the bytes of their keys and values.
constexpr uint64_t kShareOfItems = 2;

}  // namespace

Transfer::Transfer(const Parts& parts)
    : parts_(parts),
      most_items_(parts.cold.transfer_bytes() / kShareOfItems / kBytesPerItem),
      most_bytes_(parts.cold.transfer_bytes() - parts.cold.transfer_bytes() / kShareOfItems) {}

bool Transfer::full() const { return items_.size() >= most_items_ || bytes_.size() >= most_bytes_; }

void Transfer::Clear() {
  items_ = {};
  bytes_ = {};
  demotions_ = 0;
}

void Transfer::Add(Kind kind, Position head, const Record& record, uint64_t hash) {
  if (items_.empty()) {
    items_.reserve(most_items_);
    bytes_.reserve(most_bytes_);
  }
  const bool demoted = kind == Kind::kDemote;
  items_.push_back({.hash = hash,
                    .head = head,
                    .version = record.version,
                    .expires_at_ms = record.expires_at_ms,
                    .begin = bytes_.size(),
                    .key_bytes = static_cast<uint32_t>(record.key.size()),
                    .value_bytes = demoted ? static_cast<uint32_t>(record.value.size()) : 0,
                    .kind = kind});
  bytes_ += record.key;
  if (!demoted) return;
  bytes_ += record.value;
  ++demotions_;
}

absl::Status Transfer::WriteOut() {
  if (demotions_ != 0) {
    std::vector<ColdRecord> records;
    records.reserve(demotions_);
    for (const Item& item : items_) {
      if (item.kind != Kind::kDemote) continue;
      const std::string_view key = KeyOf(item);
      records.push_back({.key = key,
                         .value = {key.data() + key.size(), item.value_bytes},
                         .version = item.version,
                         .expires_at_ms = item.expires_at_ms});
    }
    if (absl::Status status = parts_.cold.store()->Put(records); !status.ok()) return status;
  }
  if (items_.size() == demotions_) return absl::OkStatus();
  std::vector<ColdRemoval> removals;
  removals.reserve(items_.size() - demotions_);
  for (const Item& item : items_) {
    if (item.kind != Kind::kDemote) removals.push_back({.key = KeyOf(item), .version = item.version});
  }
  return parts_.cold.store()->Delete(removals);
}

absl::Status Transfer::Flush(std::vector<uint64_t>& doubtful) {
  if (items_.empty()) return absl::OkStatus();
  // From the moment when the cold store has them, they are counted twice.
  parts_.counts.Moving(static_cast<int64_t>(demotions_));
  absl::Status status = WriteOut();
  if (status.ok()) {
    if (items_.size() != demotions_) parts_.cold.NoteRemovals();
    for (const Item& item : items_) Settle(item, doubtful);
  }
  parts_.counts.Moving(-static_cast<int64_t>(demotions_));
  Clear();
  return status;
}

void Transfer::Settle(const Item& item, std::vector<uint64_t>& doubtful) {
  HashIndex::Latch latch(parts_.index, item.hash);
  const Slots slots = latch.Find();
  const auto own =
      std::find_if(slots.begin(), slots.end(), [&](const Slot& slot) { return slot.position == item.head; });
  if (own != slots.end() && item.kind != Kind::kUncover) {
    if (item.kind == Kind::kDemote) parts_.cold.NoteDemoted(item.head + 1);
    latch.Erase(item.head);
    parts_.counts.Changed(*own, std::nullopt);
    if (!own->tombstone) parts_.log.MarkDead(item.head, 0);
    return;
  }
  const auto set_shadow = [&](const Slot& slot, bool shadow) {
    Slot changed = slot;
    changed.shadow = shadow;
    latch.Replace(slot.position, changed);
    parts_.counts.Changed(slot, changed);
  };
  if (item.kind == Kind::kUncover) {
    if (own != slots.end() && !own->unresolved) set_shadow(*own, false);
    return;
  }
  if (item.kind == Kind::kForget) return;  // set again meanwhile, by who took over what the slot says
  // Superseded meanwhile: what the cold store has got is out of date already.
  for (const Slot& slot : slots) set_shadow(slot, true);
  const bool doubt =
      std::any_of(slots.begin(), slots.end(), [](const Slot& slot) { return slot.unresolved; });
  if (doubt) doubtful.push_back(item.hash);
}

}  // namespace thermocline::storage
