#include "storage/index/ordered_table.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace thermocline::storage {
namespace {

using Share = MemoryBudget::Share;

constexpr uint32_t kGrowth = 8;  // a stretch adds this part of the array, on average
// With each write while it is stretched: so the part that is not yet moved gets little denser meanwhile.
constexpr uint32_t kMoved = 64;
// But not with each: both ends of what moves have to come from memory first.
constexpr uint32_t kMoveEvery = 8;
constexpr uint32_t kPassed = 512;  // empty words, then
constexpr uint32_t kSweptWords = 2048;
constexpr uint64_t kCopiedWords = 4096;
constexpr int kFirstPositionBits = 20;

}  // namespace

// The home is at most the spread below `index`; the tag tells where in between.
OrderedTable::Place OrderedTable::Layout::PlaceIn(uint64_t word, uint32_t index) const {
  const Place near = index * stride;
  const auto difference = static_cast<int64_t>(TagIn(word) - TagOf(near));
  return near + static_cast<uint64_t>(difference >> dropped_bits);
}

OrderedTable::OrderedTable(Frames& frames, int prefix_bits, uint64_t seed)
    : source_(frames), prefix_bits_(prefix_bits), random_(seed) {
  layout_.known_bits = std::min(64, 65 - prefix_bits);
}

OrderedTable::~OrderedTable() { source_.budget().Give(Share::kIndex, frames_.capacity() * sizeof(uint32_t)); }

uint64_t OrderedTable::FactsOf(const Slot& slot) {
  return (slot.shadow ? kShadow : 0) | (slot.unresolved ? kUnresolved : 0) |
         (slot.tombstone ? kTombstone : 0) | slot.position;
}

Slot OrderedTable::SlotOf(const Layout& layout, uint64_t word) {
  return {.position = layout.PositionIn(word),
          .unresolved = (word & kUnresolved) != 0,
          .tombstone = (word & kTombstone) != 0,
          .shadow = (word & kShadow) != 0};
}

Slots OrderedTable::Find(uint64_t hash) const {
  Slots found;
  if (frames_.empty()) return found;
  const Layout& layout = LayoutOf(PlaceOf(hash));
  const Place place = PlaceOf(hash) & layout.known;
  const uint64_t tag = layout.TagOf(place);
  for (uint32_t i = layout.HomeOf(place);; ++i) {
    const uint64_t word = WordAt(i);
    if (word == 0 || Less(tag, layout.TagIn(word))) return found;
    if (layout.TagIn(word) == tag) found.push_back(SlotOf(layout, word));
  }
}

void OrderedTable::Prefetch(uint64_t hash) const {
  if (frames_.empty()) return;
  const Layout& layout = LayoutOf(PlaceOf(hash));
  const uint32_t home = layout.HomeOf(PlaceOf(hash) & layout.known);
  __builtin_prefetch(FrameOf(home) + InFrame(home), /*to be written*/ 1);
}

std::optional<uint32_t> OrderedTable::IndexOf(uint64_t hash, uint64_t position) const {
  if (frames_.empty()) return std::nullopt;
  const Layout& layout = LayoutOf(PlaceOf(hash));
  const Place place = PlaceOf(hash) & layout.known;
  const uint64_t tag = layout.TagOf(place);
  for (uint32_t i = layout.HomeOf(place);; ++i) {
    const uint64_t word = WordAt(i);
    if (word == 0 || Less(tag, layout.TagIn(word))) return std::nullopt;
    if (layout.TagIn(word) == tag && layout.PositionIn(word) == position) return i;
  }
}

uint32_t OrderedTable::EmptyFrom(uint32_t index) const {
  while (true) {
    const uint64_t* const frame = FrameOf(index);
    for (uint32_t i = InFrame(index), end = source_.words(); i < end; ++i, ++index) {
      if (frame[i] == 0) return index;
    }
  }
}

// The words from `from` on to the next places, the last of them to `to`.
void OrderedTable::MoveUp(uint32_t from, uint32_t to) {
  while (to - from > InFrame(to)) {
    uint64_t* const frame = FrameOf(to);
    std::memmove(frame + 1, frame, InFrame(to) * sizeof(uint64_t));
    to -= InFrame(to);
    frame[0] = WordAt(to - 1);
    --to;
  }
  uint64_t* const word = &WordAt(from);
  std::memmove(word + 1, word, (to - from) * sizeof(uint64_t));
}

uint32_t OrderedTable::Put(const Layout& layout, Place place, uint64_t facts) {
  const uint64_t tag = layout.TagOf(place);
  const uint32_t home = layout.HomeOf(place);
  uint32_t at = home;
  for (; WordAt(at) != 0 && !Less(tag, layout.TagIn(WordAt(at))); ++at) {
  }
  const uint32_t gap = EmptyFrom(at);
  // Reserve has left one word, and growth makes no more of them necessary, unless hashes are not spread at
  // all.
  if (gap + 1 == words()) {
    if (!AddFrame()) std::abort();
    tail_ = words() - layout_.capacity;
  }
  MoveUp(at, gap);
  WordAt(at) = tag >> kFlagBits | facts;
  end_taken_ |= gap + 2 >= words();
  if (gap - home >= spread_ / 2) farthest_ = std::max(farthest_, FarthestOf(layout, at, gap));
  if (&layout == &old_) old_end_ = std::max(old_end_, gap + 1);
  return at;
}

uint32_t OrderedTable::FarthestOf(const Layout& layout, uint32_t from, uint32_t to) const {
  uint32_t farthest = 0;
  for (uint32_t i = from; i <= to; ++i) {
    farthest = std::max(farthest, i - layout.HomeOf(layout.PlaceIn(WordAt(i), i)));
  }
  return farthest;
}

void OrderedTable::Insert(uint64_t hash, const Slot& slot) {
  const Layout& layout = LayoutOf(PlaceOf(hash));
  Put(layout, PlaceOf(hash) & layout.known, FactsOf(slot));
  ++count_;
}

bool OrderedTable::Erase(uint64_t hash, uint64_t position) {
  const std::optional<uint32_t> found = IndexOf(hash, position);
  if (!found) return false;
  const Layout& layout = LayoutOf(PlaceOf(hash));
  uint32_t gap = *found;
  while (true) {
    const uint64_t next = WordAt(gap + 1);
    if (next == 0 || layout.HomeOf(layout.PlaceIn(next, gap + 1)) > gap) break;
    WordAt(gap) = next;
    ++gap;
  }
  WordAt(gap) = 0;
  --count_;
  return true;
}

bool OrderedTable::Replace(uint64_t hash, uint64_t position, const Slot& slot) {
  const std::optional<uint32_t> found = IndexOf(hash, position);
  if (!found) return false;
  const Layout& layout = LayoutOf(PlaceOf(hash));
  uint64_t& word = WordAt(*found);
  word = layout.TagIn(word) >> kFlagBits | FactsOf(slot);
  return true;
}

bool OrderedTable::SameTag(uint64_t a, uint64_t b) const {
  return ((PlaceOf(a) ^ PlaceOf(b)) & LayoutOf(PlaceOf(a)).known) == 0;
}

uint64_t OrderedTable::DoubtGroups(absl::FunctionRef<bool(uint64_t position)> doubtful) {
  uint64_t marked = 0;
  const auto mark = [&](const Layout& layout, uint64_t& word) {
    if (!doubtful(layout.PositionIn(word))) return;
    marked += (word & kUnresolved) == 0;
    word |= kUnresolved;
  };
  // Between the layouts there is an empty word.
  for (uint32_t i = 0; i + 1 < words(); ++i) {
    const Layout& layout = LayoutAt(i);
    uint64_t& word = WordAt(i);
    uint64_t& next = WordAt(i + 1);
    if (word == 0 || next == 0 || layout.TagIn(word) != layout.TagIn(next)) continue;
    mark(layout, word);
    mark(layout, next);
  }
  return marked;
}

OrderedTable::Sweep OrderedTable::SweepUnresolved(uint64_t hash) const {
  if (frames_.empty()) return {};
  const Place from = PlaceOf(hash);
  const Layout& layout = LayoutOf(from);
  const bool old = &layout == &old_;
  const uint32_t end = old ? old_end_ : words();
  const auto next = [&](Place place) {
    if (old) place = std::min(place, split_);
    return place < kEnd ? std::optional<uint64_t>(HashOf(place)) : std::nullopt;
  };
  const uint32_t first = layout.HomeOf(from & layout.known);
  for (uint32_t i = first; i < end; ++i) {
    const uint64_t word = WordAt(i);
    // Behind an empty word every slot's home is there as well.
    if (word == 0 && i - first >= kSweptWords && i < layout.capacity) {
      return {.next = next(((i + 1) * layout.stride + ~layout.known) & layout.known)};
    }
    if ((word & kUnresolved) == 0) continue;
    const Place place = layout.PlaceIn(word, i);
    if (place < (from & layout.known)) continue;
    return {.unresolved = HashOf(place), .next = next(place + (~layout.known + 1))};
  }
  return {.next = next(old ? split_ : kEnd)};
}

OrderedTable::Shape OrderedTable::shape() const {
  return {.slots = count_, .known_bits = prefix_bits_ + layout_.known_bits - 1};
}

std::optional<uint64_t> OrderedTable::Copy(uint64_t from, std::vector<Entry>& out) const {
  if (frames_.empty()) return std::nullopt;
  // In units that every layout tells apart, whatever is forgotten between two calls.
  constexpr Place kUnit = Place{1} << (64 - kLeastKnownBits);
  constexpr uint64_t kUnits = kEnd / kUnit;
  const Place begin = PlaceOf(from);
  const uint64_t units = std::clamp<uint64_t>(kCopiedWords * kUnits / words(), 1, kUnits);
  const Place end = std::min((begin / kUnit + units) * kUnit, kEnd);
  if (stretching()) CopyPlaces(old_, begin, std::min(end, split_), out);
  CopyPlaces(layout_, std::max(begin, split_), end, out);
  return end < kEnd ? std::optional<uint64_t>(HashOf(end)) : std::nullopt;
}

void OrderedTable::CopyPlaces(const Layout& layout, Place from, Place to, std::vector<Entry>& out) const {
  if (from >= to) return;
  const uint32_t last_home = layout.HomeOf(to);
  for (uint32_t i = layout.HomeOf(from & layout.known);; ++i) {
    const uint64_t word = WordAt(i);
    if (word == 0) {
      if (i >= last_home) return;
      continue;
    }
    const Place place = layout.PlaceIn(word, i);
    if (place >= to) return;
    if (place >= (from & layout.known)) out.push_back({.hash = HashOf(place), .slot = SlotOf(layout, word)});
  }
}

bool OrderedTable::Prepare(const Shape& shape, uint64_t position) {
  const int known_bits = std::max(shape.known_bits - prefix_bits_ + 1, kLeastKnownBits);
  layout_.known_bits = std::min(layout_.known_bits, known_bits);
  layout_.known = ~uint64_t{0} << (64 - layout_.known_bits);
  if (shape.slots == 0) return true;
  // Between what is left after a stretch and what asks for the next one.
  const uint64_t wanted = shape.slots + shape.slots / 6 + tail_;
  while (frames_.size() << source_.words_log2() < wanted) {
    if (!AddFrame()) return false;
  }
  layout_ = LayoutFor(words() - tail_, PositionBitsFor(position));
  return true;
}

bool OrderedTable::Append(uint64_t hash, const Slot& slot, uint32_t& next) {
  const Place place = PlaceOf(hash) & layout_.known;
  const uint32_t home = layout_.HomeOf(place);
  // Many more come than there is room for. It would end in a crowd, and a crowd forgets hashes.
  const uint32_t far = spread_ / 4;
  const bool overfull = home >= far && count_ >= home + far && next >= home + far;
  if (overfull && !stretching() && !Stretch(slot.position)) return false;
  if (stretching() || full() || slot.position >> layout_.position_bits != 0) {
    if (!Reserve(slot.position)) return false;
    Insert(hash, slot);
    next = 0;
    return true;
  }
  PutNext(place, FactsOf(slot), next);
  ++count_;
  return true;
}

bool OrderedTable::Reserve(uint64_t position, bool insert) {
  if (stretching() && ++writes_ % kMoveEvery == 0) Move(kMoveEvery * kMoved);
  while (insert && full()) {
    Move(UINT32_MAX);
    const bool crowded = farthest_ >= spread_ / 2;
    if (!Stretch(position)) return false;
    // A table that crowds is dense somewhere, and its old layout cannot take more.
    Move(crowded ? UINT32_MAX : kMoved);
  }
  if (position >> position_bits() != 0) Move(UINT32_MAX);
  if (position >> position_bits() != 0) Widen(position);
  return true;
}

// One bit more than needed: until the log has doubled, the table has been stretched again. Else, it must be
// widened.
int OrderedTable::PositionBitsFor(uint64_t position) const {
  return std::max(
      {layout_.position_bits, static_cast<int>(std::bit_width(position)) + 1, kFirstPositionBits});
}

OrderedTable::Layout OrderedTable::LayoutFor(uint32_t capacity, int position_bits) const {
  Layout layout;
  layout.capacity = capacity;
  layout.position_bits = std::min(position_bits, Slot::kMaxPositionBits);
  layout.dropped_bits = std::bit_width(capacity / (spread_ + 2) | 1) - 1;
  layout.known_bits =
      std::min(layout_.known_bits, layout.dropped_bits + 64 - kFlagBits - layout.position_bits);
  layout.known = ~uint64_t{0} << (64 - layout.known_bits);
  layout.stride = kEnd / capacity;
  return layout;
}

bool OrderedTable::AddFrame() {
  if (frames_.size() == frames_.capacity()) {
    // Exactly as much as it takes: the vector's own steps would be coarser than the table's.
    const size_t more = std::max<size_t>(1, frames_.size() / kGrowth);
    if (!source_.budget().TryTake(Share::kIndex, more * sizeof(uint32_t))) return false;
    frames_.reserve(frames_.size() + more);
  }
  const std::optional<uint32_t> frame = source_.Take();
  if (!frame) return false;
  frames_.push_back(*frame);
  return true;
}

// Requires that no stretch is under way.
bool OrderedTable::Stretch(uint64_t position) {
  const uint32_t end = words();
  const uint32_t tail = end_taken_ ? 2 * tail_ : tail_;
  // Half as much again, or half of it: tables that are filled alike are not to be stretched at the same time.
  random_ = random_ * 6364136223846793005 + 1442695040888963407;
  const uint64_t usual = layout_.capacity / kGrowth;
  const auto chosen = static_cast<uint32_t>(usual / 2 + (usual * (random_ >> 40) >> 24));
  const uint32_t more = std::max(chosen, source_.words());
  const uint32_t wanted = (layout_.capacity + more + tail) >> source_.words_log2();
  while (frames_.size() < wanted) {
    if (!AddFrame()) return false;
  }
  tail_ = tail;
  while (farthest_ >= spread_ / 2) spread_ *= 2;
  end_taken_ = false;
  farthest_ = 0;
  old_ = layout_;
  old_end_ = old_.capacity == 0 ? 0 : end;
  while (old_end_ > old_.capacity && WordAt(old_end_ - 1) == 0) --old_end_;
  layout_ = LayoutFor(words() - tail_, PositionBitsFor(position));
  split_ = kEnd;
  return true;
}

void OrderedTable::Move(uint32_t slots) {
  while (stretching() && slots > 0) {
    const uint32_t batch = std::min(slots, kMoved);
    Moving taken;
    TakeLast(batch, kPassed, taken);
    if (stretching() && !apart()) TakeLast(UINT32_MAX, UINT32_MAX, taken);
    PutBack(taken);
    slots -= batch;
  }
}

// True if nothing of the old layout stands where the new one begins, or soon may: an insert takes at most one
// word behind what is there, or one at a home.
bool OrderedTable::apart() const {
  return layout_.HomeOf(split_) >= std::max(old_end_, old_.HomeOf(split_) + 1) + spread_;
}

// Without its last slots, what is left is still an ordered table. It goes on until so many were taken, or so
// many empty words passed.
void OrderedTable::TakeLast(uint32_t slots, uint32_t empty_words, Moving& taken) {
  const Layout old = old_;  // which no store can change
  const uint64_t known = layout_.known;
  const uint32_t begin = old_end_;
  for (uint32_t left = slots, empty = 0; old_end_ > 0;) {
    uint64_t& word = WordAt(old_end_ - 1);
    if (word == 0) {
      --old_end_;
      if (++empty >= empty_words && Cut()) break;
      continue;
    }
    const Place place = old.PlaceIn(word, old_end_ - 1) & known;
    // What cannot be told apart any more stays together.
    if (left == 0 && place != split_) break;
    left -= left != 0;
    split_ = place;
    taken.emplace_back(place, old.FactsIn(word));
    word = 0;
    --old_end_;
  }
  moved_words_ += begin - old_end_;
  if (old_end_ == 0) split_ = 0;
}

// Makes old_end_, where nothing stands behind, the end for new slots as well. False: slots that stand before
// it may be the same, as far as is known, as one that has been taken.
bool OrderedTable::Cut() {
  if (old_end_ >= old_.capacity) return false;
  const Place first = (old_.FirstOf(old_end_) + ~layout_.known) & layout_.known;
  if (first > split_) return false;
  split_ = first;
  return true;
}

void OrderedTable::PutBack(const Moving& slots) {
  uint32_t next = 0;
  for (auto slot = slots.rbegin(); slot != slots.rend(); ++slot) PutNext(slot->first, slot->second, next);
}

// As Put into the newest layout, in ascending order: up to `next` stands nothing larger, so that no search is
// needed until it meets what was there earlier.
void OrderedTable::PutNext(Place place, uint64_t facts, uint32_t& next) {
  const uint32_t home = layout_.HomeOf(place);
  next = std::max(next, home);
  if (next + 2 >= words() || WordAt(next) != 0) {
    next = Put(layout_, place, facts) + 1;
    return;
  }
  WordAt(next) = layout_.TagOf(place) >> kFlagBits | facts;
  farthest_ = std::max(farthest_, next - home);
  ++next;
}

// In place: homes come no later when less of the hashes is known.
void OrderedTable::Widen(uint64_t position) {
  const Layout narrow = layout_;
  layout_ = LayoutFor(narrow.capacity, static_cast<int>(std::bit_width(position)) + 1);
  uint32_t next = 0;
  for (uint32_t i = 0; i < words(); ++i) {
    const uint64_t word = std::exchange(WordAt(i), 0);
    if (word == 0) continue;
    const Place place = narrow.PlaceIn(word, i) & layout_.known;
    next = std::max(next, layout_.HomeOf(place));
    WordAt(next++) = layout_.TagOf(place) >> kFlagBits | narrow.FactsIn(word);
  }
}

}  // namespace thermocline::storage
