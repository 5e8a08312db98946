#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"

#include "storage/index/frames.h"

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

// All slots of the hashes with one prefix: 8-byte words in one array, in the order of the hashes, by linear
// probing with ordered insertion (Amble and Knuth, "Ordered hash tables", 1974). A lookup starts where the
// hash would stand if all were spread evenly, its home, and ends at the first larger one: one or two cache
// lines. The array is made of frames, and grows by stretching: about an eighth of new frames is added at its
// end, and then the slots move, from the last one down, to where they belong in the larger array: some with
// every eighth write, and the first few thousand, where the layouts come near each other, at once. So no
// write waits for more than that, whatever the size, unless hashes crowd, or positions have come to need more
// bits than were foreseen when the table was last stretched: then all slots are rewritten in place. No memory
// is ever given back.
//
//     0                           split            capacity
//    +-----------------------------+---- - - ----+------------------------------+--------+
//    | smaller hashes, old layout  |    empty    | hashes from split on, new one|  tail  |
//    +-----------------------------+---- - - ----+------------------------------+--------+
//
//    63       62         61       60 ........ A  A-1 ........ 0
//   +--------+----------+--------+--------------+--------------+
//   | shadow |unresolved|tombst. | tag          | position     |     0: an empty slot
//   +--------+----------+--------+--------------+--------------+
//
// The tag is the hash without its prefix and without the next `dropped_bits`, which the place in the array
// tells: no slot stands more than `spread` behind its home, so tags that meet are less than half of their
// range apart and are compared as serial numbers are, by the sign of the difference. Width of the position,
// dropped bits and capacity make a layout. The larger the array, the more bits are dropped and the later
// positions can take their room; what no slot has room for is forgotten: `known` are the bits of the hash
// that all slots still tell. So no growth needs the whole hash, and none reads a key.
//
// Not thread-safe.
class OrderedTable {
 public:
  // Of hashes whose first `prefix_bits` are equal. It takes no memory until the first Reserve. Tables with
  // different seeds, filled alike, are stretched at different times.
  OrderedTable(Frames& frames, int prefix_bits, uint64_t seed = 0);
  ~OrderedTable();
  OrderedTable(const OrderedTable&) = delete;
  OrderedTable& operator=(const OrderedTable&) = delete;

  Slots Find(uint64_t hash) const;
  // Brings what a Find of this hash will look at first from memory, without waiting for it.
  void Prefetch(uint64_t hash) const;

  // Makes sure that the next Replace of a slot at `position` or below finds room, which takes no memory, or,
  // if `insert`, the next Insert; and goes on with the growth that is under way. False: there is no memory.
  [[nodiscard]] bool Reserve(uint64_t position, bool insert = true);
  // After Reserve.
  void Insert(uint64_t hash, const Slot& slot);
  // False if no slot of this hash has the position.
  bool Erase(uint64_t hash, uint64_t position);
  // After Reserve. False as Erase.
  bool Replace(uint64_t hash, uint64_t position, const Slot& slot);

  // True if the slots of one hash cannot be told from those of the other.
  bool SameTag(uint64_t a, uint64_t b) const;

  // Marks as unresolved all doubtful slots that share their tag with another. Returns how many were not
  // before.
  uint64_t DoubtGroups(absl::FunctionRef<bool(uint64_t position)> doubtful);

  struct Sweep {
    std::optional<uint64_t> unresolved;  // a hash that leads to an unresolved slot, without the prefix
    std::optional<uint64_t> next;        // where to go on, without the prefix; nullopt: all has been seen
  };
  // Looks for unresolved slots from `hash` on, some KiB at a time.
  Sweep SweepUnresolved(uint64_t hash) const;

  struct Shape {
    uint64_t slots = 0;
    int known_bits = 64;  // leading bits of each hash, with the prefix, that all slots tell: it only shrinks
  };
  Shape shape() const;

  struct Entry {
    uint64_t hash = 0;  // of the hash, the bits that are known; the others are 0
    Slot slot;
  };
  // Copies the slots of some KiB, in the order of their hashes, from `from` on; the hashes come without the
  // prefix. Returns where to go on, also without it; nullopt: all have been copied. Slots whose hashes cannot
  // be told apart, now or after any growth, are copied together: so each that is there all the time is copied
  // once.
  std::optional<uint64_t> Copy(uint64_t from, std::vector<Entry>& out) const;

  // Before any other use: makes room for so many slots, at `position` or below, of hashes of which no more is
  // known. False: there is no memory.
  [[nodiscard]] bool Prepare(const Shape& shape, uint64_t position);
  // Reserves and inserts; after Prepare and in the order of the hashes, without searching: `next` is 0 at
  // first and then what the call before has left. False: there is no memory.
  [[nodiscard]] bool Append(uint64_t hash, const Slot& slot, uint32_t& next);

  uint64_t count() const { return count_; }
  // Words that growth has looked at to move them, of all time: its cost.
  uint64_t moved_words() const { return moved_words_; }

 private:
  static constexpr int kFlagBits = 3;
  static constexpr uint64_t kShadow = uint64_t{1} << 63;
  static constexpr uint64_t kUnresolved = uint64_t{1} << 62;
  static constexpr uint64_t kTombstone = uint64_t{1} << 61;
  static constexpr uint64_t kEnd = uint64_t{1} << 63;                              // behind every place
  static constexpr int kLeastKnownBits = 64 - kFlagBits - Slot::kMaxPositionBits;  // of places

  // A hash without the prefix, as a fraction of the array: 63 bits, so that differences have a sign.
  using Place = uint64_t;

  struct Layout {
    uint32_t capacity = 0;  // homes
    int position_bits = 0;
    int dropped_bits = 0;
    int known_bits = 64;            // of places
    uint64_t known = ~uint64_t{0};  // the mask of these
    uint64_t stride = 0;            // of places from one home to the next

    uint32_t HomeOf(Place place) const { return static_cast<uint32_t>(((place >> 31) * capacity) >> 32); }
    // The first place with this home or a later one.
    Place FirstOf(uint32_t home) const { return ((uint64_t{home} << 32) + capacity - 1) / capacity << 31; }
    uint64_t TagOf(Place place) const { return place << dropped_bits; }
    uint64_t TagIn(uint64_t word) const { return (word << kFlagBits) & (known << dropped_bits); }
    uint64_t PositionIn(uint64_t word) const { return word & ((uint64_t{1} << position_bits) - 1); }
    // Position and flags.
    uint64_t FactsIn(uint64_t word) const {
      return word & (kShadow | kUnresolved | kTombstone | ((uint64_t{1} << position_bits) - 1));
    }
    Place PlaceIn(uint64_t word, uint32_t index) const;
  };

  // Slots on their way to the new layout, the last one first: places and facts. Some thousand at most, unless
  // hashes crowd.
  using Moving = absl::InlinedVector<std::pair<Place, uint64_t>, 72>;

  static bool Less(uint64_t tag, uint64_t other) { return static_cast<int64_t>(tag - other) < 0; }
  static uint64_t FactsOf(const Slot& slot);
  static Slot SlotOf(const Layout& layout, uint64_t word);

  Place PlaceOf(uint64_t hash) const { return (hash << prefix_bits_) >> 1; }
  uint64_t HashOf(Place place) const { return (place << 1) >> prefix_bits_; }
  const Layout& LayoutOf(Place place) const { return (place & layout_.known) >= split_ ? layout_ : old_; }
  const Layout& LayoutAt(uint32_t index) const { return index < old_end_ ? old_ : layout_; }
  uint64_t* FrameOf(uint32_t index) const { return source_.At(frames_[index >> source_.words_log2()]); }
  uint32_t InFrame(uint32_t index) const { return index & (source_.words() - 1); }
  uint64_t& WordAt(uint32_t index) { return FrameOf(index)[InFrame(index)]; }
  uint64_t WordAt(uint32_t index) const { return FrameOf(index)[InFrame(index)]; }
  uint32_t words() const { return static_cast<uint32_t>(frames_.size()) << source_.words_log2(); }

  std::optional<uint32_t> IndexOf(uint64_t hash, uint64_t position) const;
  uint32_t EmptyFrom(uint32_t index) const;
  void MoveUp(uint32_t from, uint32_t to);
  uint32_t Put(const Layout& layout, Place place, uint64_t facts);
  void PutNext(Place place, uint64_t facts, uint32_t& next);
  uint32_t FarthestOf(const Layout& layout, uint32_t from, uint32_t to) const;
  void CopyPlaces(const Layout& layout, Place from, Place to, std::vector<Entry>& out) const;

  bool stretching() const { return split_ != 0; }
  bool full() const { return count_ >= layout_.capacity - layout_.capacity / 9 || end_taken_ || crowded(); }
  bool crowded() const { return layout_.dropped_bits > 0 && farthest_ >= spread_ / 2; }
  int position_bits() const { return stretching() ? old_.position_bits : layout_.position_bits; }
  int PositionBitsFor(uint64_t position) const;
  Layout LayoutFor(uint32_t capacity, int position_bits) const;
  bool AddFrame();
  bool Stretch(uint64_t position);
  void Move(uint32_t slots);
  bool apart() const;
  void TakeLast(uint32_t slots, uint32_t empty_words, Moving& taken);
  bool Cut();
  void PutBack(const Moving& slots);
  void Widen(uint64_t position);

  // First what each lookup needs, in as few cache lines as can be.
  Frames& source_;
  const int prefix_bits_;
  uint64_t random_;
  uint32_t writes_ = 0;           // while the table is stretched
  std::vector<uint32_t> frames_;  // the last word is always empty
  Layout layout_;
  // While the table is stretched: slots below split_ stand before old_end_, in the old layout, and the others
  // at least a word behind it.
  Place split_ = 0;
  uint64_t count_ = 0;
  Layout old_;
  uint32_t old_end_ = 0;

  uint32_t tail_ = 32;      // words behind the last home, for slots that find theirs taken
  uint32_t spread_ = 512;   // a bound of how far slots stand from their homes, where any bits are dropped
  bool end_taken_ = false;  // no room behind the last slot
  uint32_t farthest_ = 0;   // no slot stands farther from its home, or half of spread_
  uint64_t moved_words_ = 0;
};

}  // namespace thermocline::storage
