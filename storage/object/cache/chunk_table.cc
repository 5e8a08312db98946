#include "storage/object/cache/chunk_table.h"

#include <algorithm>

namespace thermocline::storage::object_cache {
namespace {

// How far the hand goes for one victim: time under the cache's lock.
constexpr uint32_t kLongestTurn = 4096;

}  // namespace

ChunkTable::ChunkTable(uint32_t capacity)
    : entries_(capacity), places_(std::max<size_t>(2, capacity + capacity / 2), kNone) {}

size_t ChunkTable::HomeOf(ChunkId id) const {
  uint64_t hash = (id.object + id.chunk * 0x9e3779b97f4a7c15) * 0xd6e8feb86659fd93;
  hash ^= hash >> 32;
  hash *= 0xd6e8feb86659fd93;
  return static_cast<size_t>((hash >> 32) * places_.size() >> 32);
}

size_t ChunkTable::PlaceOf(ChunkId id) const {
  size_t place = HomeOf(id);
  while (places_[place] != kNone && IdAt(places_[place]) != id) place = After(place);
  return place;
}

std::optional<ChunkTable::Found> ChunkTable::Find(ChunkId id) const {
  const uint32_t slot = places_[PlaceOf(id)];
  if (slot == kNone) return std::nullopt;
  return Found{slot, entries_[slot].checksum};
}

void ChunkTable::CountUse(uint32_t slot) {
  Entry& entry = entries_[slot];
  if (entry.ahead == 0 && entry.uses < kMostUses) ++entry.uses;
  entry.ahead = 0;
}

void ChunkTable::Unpin(uint32_t slot) {
  if (--entries_[slot].pins == 0 && entries_[slot].object == 0) Free(slot);
}

void ChunkTable::Free(uint32_t slot) {
  entries_[slot] = Entry();
  entries_[slot].chunk = free_;
  free_ = slot;
}

std::optional<uint32_t> ChunkTable::TakeFree() {
  uint32_t slot = free_;
  if (slot != kNone) {
    free_ = entries_[slot].chunk;
  } else if (untouched_ < usable_) {
    slot = untouched_++;
  } else {
    return std::nullopt;
  }
  entries_[slot] = Entry();
  entries_[slot].pins = 1;
  return slot;
}

std::optional<uint32_t> ChunkTable::TakeVictim() {
  uint32_t last_resort = kNone;
  uint32_t victim = kNone;
  const uint64_t turn = std::min<uint64_t>(kLongestTurn, uint64_t{usable_} * (kMostUses + 1));
  for (uint64_t i = 0; i < turn && victim == kNone; ++i) {
    if (hand_ >= usable_) hand_ = 0;
    Entry& entry = entries_[hand_];
    if (entry.object != 0 && entry.pins == 0) {
      if (entry.uses == 0) victim = hand_;
      if (entry.uses > 0) --entry.uses;
      last_resort = hand_;
    }
    ++hand_;
  }
  if (victim == kNone) victim = last_resort;
  if (victim == kNone) return std::nullopt;
  Pin(victim);
  Drop(victim);
  return victim;
}

void ChunkTable::Put(uint32_t slot, ChunkId id, uint64_t checksum, bool ahead) {
  if (const uint32_t before = places_[PlaceOf(id)]; before != kNone) Drop(before);
  Entry& entry = entries_[slot];
  entry.object = id.object;
  entry.chunk = id.chunk;
  entry.checksum = checksum;
  entry.uses = 0;
  entry.ahead = ahead ? 1 : 0;
  Insert(slot);
}

void ChunkTable::Insert(uint32_t slot) {
  places_[PlaceOf(IdAt(slot))] = slot;
  ++chunks_;
}

void ChunkTable::Drop(uint32_t slot) {
  if (entries_[slot].object == 0) return;
  Erase(PlaceOf(IdAt(slot)));
  entries_[slot].object = 0;
  if (entries_[slot].pins == 0) Free(slot);
}

void ChunkTable::Erase(size_t place) {
  // Those behind move up, unless that would put them before their home.
  for (size_t next = After(place); places_[next] != kNone; next = After(next)) {
    const size_t home = HomeOf(IdAt(places_[next]));
    const bool stays = place < next ? place < home && home <= next : place < home || home <= next;
    if (stays) continue;
    places_[place] = places_[next];
    place = next;
  }
  places_[place] = kNone;
  --chunks_;
}

void ChunkTable::Rename(ChunkId from, ChunkId to) {
  const uint32_t slot = places_[PlaceOf(from)];
  if (slot == kNone) return;
  Erase(PlaceOf(from));
  if (const uint32_t before = places_[PlaceOf(to)]; before != kNone) Drop(before);
  entries_[slot].object = to.object;
  entries_[slot].chunk = to.chunk;
  Insert(slot);
}

std::optional<ChunkTable::Content> ChunkTable::At(uint32_t slot) const {
  const Entry& entry = entries_[slot];
  if (entry.object == 0) return std::nullopt;
  return Content{IdAt(slot), entry.checksum, entry.uses};
}

void ChunkTable::Restore(uint32_t slot, const Content& content) {
  for (; untouched_ < slot; ++untouched_) Free(untouched_);
  untouched_ = slot + 1;
  entries_[slot].pins = 1;
  Put(slot, content.id, content.checksum, false);
  entries_[slot].uses = content.uses;
  Unpin(slot);
}

void ChunkTable::Clear() {
  std::fill(entries_.begin(), entries_.end(), Entry());
  std::fill(places_.begin(), places_.end(), kNone);
  untouched_ = 0;
  free_ = kNone;
  chunks_ = 0;
}

}  // namespace thermocline::storage::object_cache
