#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace thermocline::storage::object_cache {

// Which part of which object: of objects a number that is made of the name. Two names may have the same one;
// the checksum of a chunk, which is seeded by the whole name, tells them apart.
struct ChunkId {
  uint64_t object = 0;  // never 0 for a chunk
  uint32_t chunk = 0;

  friend bool operator==(const ChunkId&, const ChunkId&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const ChunkId& id) {
    return H::combine(std::move(state), id.object, id.chunk);
  }
};

// What is in the slots of the cache's disk: by chunk a slot, by slot a chunk; and which slot to use next. For
// one thread at a time.
//
// A slot is free, or holds a chunk that can be found, or is pinned. A pinned slot is neither free nor taken
// for another chunk, even when its chunk was dropped, until the last pin goes.
class ChunkTable {
 public:
  static constexpr size_t kBytesPerSlot = 30;  // all its memory, taken at once
  static constexpr uint32_t kMostUses = 3;

  // At most `capacity` slots; none can be used before AddSlots.
  explicit ChunkTable(uint32_t capacity);

  // The first `slots` can be used from now on.
  void AddSlots(uint32_t slots) { usable_ = slots; }
  uint32_t usable() const { return usable_; }
  uint32_t chunks() const { return chunks_; }

  struct Found {
    uint32_t slot;
    uint64_t checksum;
  };
  std::optional<Found> Find(ChunkId id) const;
  // It was read: it stays longer. The first use of what was read ahead counts for nothing.
  void CountUse(uint32_t slot);

  void Pin(uint32_t slot) { ++entries_[slot].pins; }
  void Unpin(uint32_t slot);

  // A slot that is pinned now and holds nothing. TakeFree: one that held nothing before. TakeVictim: one that
  // lost its chunk for it, nullopt if all of a long stretch are pinned.
  std::optional<uint32_t> TakeFree();
  std::optional<uint32_t> TakeVictim();
  // The slot, which is pinned and holds nothing, gets this chunk, which whatever slot held it before loses.
  void Put(uint32_t slot, ChunkId id, uint64_t checksum, bool ahead);

  // What the slot holds cannot be found any more.
  void Drop(uint32_t slot);
  // The chunk gets another id; another one that had it is dropped. Nothing if there is no such chunk.
  void Rename(ChunkId from, ChunkId to);

  // What a slot holds, to be written down; nullopt if nothing.
  struct Content {
    ChunkId id;
    uint64_t checksum;
    uint32_t uses;
  };
  std::optional<Content> At(uint32_t slot) const;
  // Puts it back into a table that has been given slots and nothing else yet, once per slot at most, in the
  // order of the slots. Slots between that get nothing are free.
  void Restore(uint32_t slot, const Content& content);
  // Nothing is held, every slot is free.
  void Clear();

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Entry {
    uint64_t object = 0;  // 0: holds nothing
    uint64_t checksum = 0;
    uint32_t chunk = kNone;  // of a free slot: the next free one
    uint32_t uses : 2 = 0;
    uint32_t ahead : 1 = 0;  // and not used yet
    uint32_t pins : 29 = 0;
  };
  static_assert(sizeof(Entry) == 24);

  ChunkId IdAt(uint32_t slot) const { return {entries_[slot].object, entries_[slot].chunk}; }
  size_t HomeOf(ChunkId id) const;
  size_t After(size_t place) const { return place + 1 == places_.size() ? 0 : place + 1; }
  // Where the chunk's slot is, or would be, among the places.
  size_t PlaceOf(ChunkId id) const;
  void Insert(uint32_t slot);
  void Erase(size_t place);
  void Free(uint32_t slot);

  std::vector<Entry> entries_;    // by slot
  std::vector<uint32_t> places_;  // slots by the hash of what they hold, linear probing
  uint32_t usable_ = 0;
  uint32_t untouched_ = 0;  // slots from here on were never used
  uint32_t free_ = kNone;   // head of the list
  uint32_t hand_ = 0;
  uint32_t chunks_ = 0;
};

}  // namespace thermocline::storage::object_cache
