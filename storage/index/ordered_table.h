#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/inlined_vector.h"

namespace thermocline::storage {

// What the index knows of one record.
struct Slot {
  uint64_t position = 0;    // of the newest record, never 0; below 2^kMaxPositionBits
  bool unresolved = false;  // the record displaced one that nobody compared: its chain may hold other keys
  bool tombstone = false;   // the record is a delete
  bool shadow = false;      // deep cold may hold an older record of the key

  static constexpr int kMaxPositionBits = 53;
  bool operator==(const Slot&) const = default;
};

using Slots = absl::InlinedVector<Slot, 4>;

// A piece of the hash index: 8-byte slots in one array, in the order of their tags, by linear probing with
// ordered insertion (Amble and Knuth, "Ordered hash tables", 1974). A lookup starts where the tag would stand
// if all tags were spread evenly and ends at the first larger one: at 9/10 full that is one or two cache
// lines. Not thread-safe.
//
//    63       62         61       60 ........ A  A-1 ........ 0
//   +--------+----------+--------+--------------+--------------+
//   | shadow |unresolved|tombst. | tag          | position     |     0: an empty slot
//   +--------+----------+--------+--------------+--------------+
//
// The tag is the hash without its first prefix_bits, which led to this table. A, the width of the position,
// belongs to the table: a young log has short positions and leaves long tags, of which splits then take a bit
// each. So no rebuild ever needs the whole hash, and none reads a key.
class OrderedTable {
 public:
  static constexpr uint32_t kMinCapacity = 32;
  static constexpr uint32_t kMaxCapacity = 1024;  // of a table that may still grow; beyond it is split

  // An empty table.
  OrderedTable(uint32_t capacity, int prefix_bits, int position_bits, int tag_bits);

  Slots Find(uint64_t hash) const;

  // True if a slot with this position can be inserted without a rebuild.
  bool HasRoomFor(uint64_t position) const { return !full() && (position >> position_bits_) == 0; }
  // Requires HasRoomFor(slot.position).
  void Insert(uint64_t hash, const Slot& slot);
  // False if no slot of this hash has the position.
  bool Erase(uint64_t hash, uint64_t position);
  // Requires HasRoomFor(slot.position), or a position no longer than the one it replaces. False as Erase.
  bool Replace(uint64_t hash, uint64_t position, const Slot& slot);

  // True if the slots of one hash cannot be told from those of the other.
  bool SameTag(uint64_t a, uint64_t b) const { return TagOfHash(a) == TagOfHash(b); }

  // Marks as unresolved all slots that share their tag with another. Returns how many were not before.
  uint32_t DoubtGroups();
  // A hash that leads to an unresolved slot, the first from `hash` on; nullopt if there is none.
  std::optional<uint64_t> FirstUnresolved(uint64_t hash) const;
  // The first hash behind all that have the same tag; 0: there is none.
  uint64_t HashBehind(uint64_t hash) const;

  // A copy that has room for `position` and is larger or wider.
  std::unique_ptr<OrderedTable> Grown(uint64_t position) const;
  // Two tables with the slots whose next bit is 0 and 1. Requires can_split().
  std::pair<std::unique_ptr<OrderedTable>, std::unique_ptr<OrderedTable>> Split() const;

  bool full() const { return count_ >= max_count() || end_taken_; }
  // A split takes one bit of the tag; some must stay to tell keys apart.
  bool can_split() const { return tag_bits_ > 8; }
  uint32_t capacity() const { return capacity_; }
  uint32_t count() const { return count_; }
  int prefix_bits() const { return prefix_bits_; }
  uint64_t bytes() const { return bytes_of(capacity_); }
  static uint64_t bytes_of(uint32_t capacity);

 private:
  static constexpr int kFlagBits = 3;
  static constexpr uint64_t kShadow = uint64_t{1} << 63;
  static constexpr uint64_t kUnresolved = uint64_t{1} << 62;
  static constexpr uint64_t kTombstone = uint64_t{1} << 61;

  uint32_t max_count() const { return capacity_ - capacity_ / 12; }
  // The tag of a slot or a hash, left-aligned in 64 bits.
  uint64_t TagOf(uint64_t word) const { return (word << kFlagBits) & tag_mask_; }
  uint64_t TagOfHash(uint64_t hash) const { return (hash << prefix_bits_) & tag_mask_; }
  uint64_t PositionOf(uint64_t word) const { return word & ((uint64_t{1} << position_bits_) - 1); }
  uint32_t HomeOf(uint64_t tag) const;
  Slot Decode(uint64_t word) const;
  uint64_t Encode(uint64_t tag, const Slot& slot) const;
  std::optional<uint32_t> IndexOf(uint64_t hash, uint64_t position) const;
  // Appends in the order of the tags; false if the array ends.
  bool Append(uint64_t tag, const Slot& slot);
  // The slots from `first` on whose tag's top bit is `bit` (or any, if absent), in a table of these
  // dimensions or larger.
  std::unique_ptr<OrderedTable> Copy(uint32_t capacity, int prefix_bits, int position_bits,
                                     std::optional<int> bit) const;

  const uint32_t capacity_;  // homes
  const uint32_t size_;      // homes and the tail that the last of them overflow into
  const int prefix_bits_;
  const int position_bits_;
  const int tag_bits_;  // that are known of every slot
  const uint64_t tag_mask_;
  uint32_t count_ = 0;
  bool end_taken_ = false;             // words_[size_ - 1] is a slot; to look there costs a cache miss
  uint32_t next_ = 0;                  // where Append continues
  std::unique_ptr<uint64_t[]> words_;  // size_ + 1: the last is always empty
};

}  // namespace thermocline::storage
