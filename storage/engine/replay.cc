#include "storage/engine/replay.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

namespace thermocline::storage {
namespace {

// What the index will look at is on its way so many records ahead.
constexpr size_t kPrefetched = 16;

}  // namespace

absl::Status Replay::Visit(size_t worker, std::span<const LoggedRecord> records) {
  Found& found = found_[worker];
  HashIndex::Latch latch(parts_.index, records.front().hash);
  for (const LoggedRecord& record : records.first(std::min(records.size(), kPrefetched)))
    latch.Prefetch(record.hash);
  for (size_t i = 0; i < records.size(); ++i) {
    if (i + kPrefetched < records.size()) latch.Prefetch(records[i + kPrefetched].hash);
    const LoggedRecord& record = records[i];
    latch.GoTo(record.hash);
    if (record.grave) {
      Bury(record, latch, found);
    } else if (latch.Reserve(record.position)) {
      Put(record, latch, found);
    } else {
      return absl::ResourceExhaustedError(
          fmt::format("the memory limit of {} bytes is too small for the index of this store: raise --memory",
                      parts_.memory_limit));
    }
  }
  return absl::OkStatus();
}

// A record that displaced another one takes its slot; any other has a slot of its own. So the index is
// rebuilt without comparing keys, whatever tags it had when the records were written.
void Replay::Put(const LoggedRecord& record, HashIndex::Latch& latch, Found& found) const {
  std::optional<Slot> displaced;
  bool met = false;
  bool unresolved = false;
  for (const Slot& slot : latch.Find()) {
    if (record.displaced != 0 && slot.position == record.displaced) displaced = slot;
    met |= slot.position == record.position;
    unresolved |= slot.unresolved;
  }
  if (record.tombstone) ++found.dead_records[BlockOf(record.position)];
  if (record.unresolved && !met) ++found.changes.hidden;
  // A checkpoint may have met this record already, or one that came still later.
  const bool gone = parts_.from_checkpoint && !displaced && record.displaced != 0 && !record.unresolved;
  if ((displaced && !displaced->tombstone) || gone) ++found.dead_records[BlockOf(record.displaced)];
  if (met) {
    if (!displaced) return;
    latch.Erase(displaced->position);
    found.changes.Change(displaced, std::nullopt);
    return;
  }
  const Slot slot = {.position = record.position,
                     .unresolved = record.unresolved,
                     .tombstone = record.tombstone,
                     .shadow = parts_.shadows};
  if (displaced) {
    latch.Replace(displaced->position, slot);
  } else {
    latch.Insert(slot);
    // Another record has taken the slot of what this one superseded, and may lead to it still.
    const bool reachable = unresolved || !parts_.from_checkpoint;
    if (record.displaced != 0 && !record.unresolved && reachable) Inter(record.displaced, found);
  }
  found.changes.Change(displaced, slot);
}

void Replay::Bury(const LoggedRecord& grave, HashIndex::Latch& latch, Found& found) const {
  const Position dead = grave.displaced;
  found.graves.push_back({BlockOf(dead), BlockOf(grave.position), grave.bytes});
  for (const Slot& slot : latch.Find()) {
    if (slot.position != dead) continue;
    latch.Erase(dead);
    found.changes.Change(slot, std::nullopt);
    if (!slot.tombstone) ++found.dead_records[BlockOf(dead)];
    break;
  }
  // A record that did not know what it displaced may have taken its slot, or may come yet, and lead to it.
  Inter(dead, found);
}

void Replay::Inter(Position dead, Found& found) const {
  if (parts_.blocks.contains(BlockOf(dead))) found.buried.insert(dead);
}

Replay::Found Replay::Take() {
  Found all = std::move(found_.front());
  for (Found& each : std::span(found_).subspan(1)) {
    all.changes.Add(each.changes);
    for (const auto& [block, records] : each.dead_records) all.dead_records[block] += records;
    all.graves.insert(all.graves.end(), each.graves.begin(), each.graves.end());
    all.buried.merge(each.buried);
    each = {};
  }
  return all;
}

}  // namespace thermocline::storage
