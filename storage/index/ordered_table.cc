#include "storage/index/ordered_table.h"

#include <algorithm>
#include <cstring>

namespace thermocline::storage {
namespace {

// Room behind the last home. At 11/12 full a run of displaced slots is rarely longer; when one is, the table
// grows early.
uint32_t SizeOf(uint32_t capacity) { return capacity + 16 + capacity / 32; }

uint64_t MaskOf(int tag_bits) { return tag_bits == 0 ? 0 : ~uint64_t{0} << (64 - tag_bits); }

}  // namespace

OrderedTable::OrderedTable(uint32_t capacity, int prefix_bits, int position_bits, int tag_bits)
    : capacity_(capacity),
      size_(SizeOf(capacity)),
      prefix_bits_(prefix_bits),
      position_bits_(position_bits),
      tag_bits_(std::min(tag_bits, 64 - kFlagBits - position_bits)),
      tag_mask_(MaskOf(tag_bits_)),
      words_(std::make_unique<uint64_t[]>(size_ + 1)) {}

uint64_t OrderedTable::bytes_of(uint32_t capacity) {
  constexpr uint64_t kAllocatorHeaders = 2 * 16;
  return (SizeOf(capacity) + 1) * sizeof(uint64_t) + sizeof(OrderedTable) + kAllocatorHeaders;
}

uint32_t OrderedTable::HomeOf(uint64_t tag) const {
  return static_cast<uint32_t>(((tag >> 32) * capacity_) >> 32);
}

Slot OrderedTable::Decode(uint64_t word) const {
  return {.position = PositionOf(word),
          .unresolved = (word & kUnresolved) != 0,
          .tombstone = (word & kTombstone) != 0,
          .shadow = (word & kShadow) != 0};
}

uint64_t OrderedTable::Encode(uint64_t tag, const Slot& slot) const {
  return (slot.shadow ? kShadow : 0) | (slot.unresolved ? kUnresolved : 0) |
         (slot.tombstone ? kTombstone : 0) | (tag >> kFlagBits) | slot.position;
}

Slots OrderedTable::Find(uint64_t hash) const {
  const uint64_t tag = TagOfHash(hash);
  Slots found;
  uint32_t i = HomeOf(tag);
  while (words_[i] != 0 && TagOf(words_[i]) < tag) ++i;
  for (; words_[i] != 0 && TagOf(words_[i]) == tag; ++i) found.push_back(Decode(words_[i]));
  return found;
}

std::optional<uint32_t> OrderedTable::IndexOf(uint64_t hash, uint64_t position) const {
  const uint64_t tag = TagOfHash(hash);
  for (uint32_t i = HomeOf(tag); words_[i] != 0 && TagOf(words_[i]) <= tag; ++i) {
    if (TagOf(words_[i]) == tag && PositionOf(words_[i]) == position) return i;
  }
  return std::nullopt;
}

void OrderedTable::Insert(uint64_t hash, const Slot& slot) {
  const uint64_t tag = TagOfHash(hash);
  uint32_t at = HomeOf(tag);
  while (words_[at] != 0 && TagOf(words_[at]) <= tag) ++at;
  uint32_t gap = at;
  while (words_[gap] != 0) ++gap;
  std::memmove(&words_[at + 1], &words_[at], (gap - at) * sizeof(uint64_t));
  words_[at] = Encode(tag, slot);
  end_taken_ |= gap == size_ - 1;
  ++count_;
}

bool OrderedTable::Erase(uint64_t hash, uint64_t position) {
  const std::optional<uint32_t> found = IndexOf(hash, position);
  if (!found) return false;
  uint32_t gap = *found;
  while (words_[gap + 1] != 0 && HomeOf(TagOf(words_[gap + 1])) <= gap) {
    words_[gap] = words_[gap + 1];
    ++gap;
  }
  words_[gap] = 0;
  end_taken_ &= gap != size_ - 1;
  --count_;
  return true;
}

bool OrderedTable::Replace(uint64_t hash, uint64_t position, const Slot& slot) {
  const std::optional<uint32_t> found = IndexOf(hash, position);
  if (!found) return false;
  words_[*found] = Encode(TagOfHash(hash), slot);
  return true;
}

uint32_t OrderedTable::DoubtGroups() {
  uint32_t marked = 0;
  const auto mark = [&](uint64_t& word) {
    marked += (word & kUnresolved) == 0;
    word |= kUnresolved;
  };
  for (uint32_t i = 0; i + 1 < size_; ++i) {
    if (words_[i] == 0 || words_[i + 1] == 0 || TagOf(words_[i]) != TagOf(words_[i + 1])) continue;
    mark(words_[i]);
    mark(words_[i + 1]);
  }
  return marked;
}

std::optional<uint64_t> OrderedTable::FirstUnresolved(uint64_t hash) const {
  const uint64_t tag = TagOfHash(hash);
  for (uint32_t i = HomeOf(tag); i < size_; ++i) {
    if ((words_[i] & kUnresolved) == 0 || TagOf(words_[i]) < tag) continue;
    const uint64_t prefix = prefix_bits_ == 0 ? 0 : hash & ~uint64_t{0} << (64 - prefix_bits_);
    return prefix | TagOf(words_[i]) >> prefix_bits_;
  }
  return std::nullopt;
}

uint64_t OrderedTable::HashBehind(uint64_t hash) const {
  const int known = std::min(64, prefix_bits_ + tag_bits_);
  const uint64_t step = uint64_t{1} << (64 - known);
  return (hash & ~(step - 1)) + step;
}

bool OrderedTable::Append(uint64_t tag, const Slot& slot) {
  const uint32_t at = std::max(next_, HomeOf(tag & tag_mask_));
  if (at >= size_) return false;
  words_[at] = Encode(tag & tag_mask_, slot);
  end_taken_ |= at == size_ - 1;
  next_ = at + 1;
  ++count_;
  return true;
}

std::unique_ptr<OrderedTable> OrderedTable::Copy(uint32_t capacity, int prefix_bits, int position_bits,
                                                 std::optional<int> bit) const {
  const int taken = prefix_bits - prefix_bits_;
  for (;; capacity += capacity / 8) {
    auto copy = std::make_unique<OrderedTable>(capacity, prefix_bits, position_bits, tag_bits_ - taken);
    bool fits = true;
    for (uint32_t i = 0; i < size_ && fits; ++i) {
      if (words_[i] == 0) continue;
      const uint64_t tag = TagOf(words_[i]);
      if (bit && static_cast<int>(tag >> 63) != *bit) continue;
      fits = copy->Append(tag << taken, Decode(words_[i]));
    }
    if (fits && !copy->full()) return copy;
  }
}

std::unique_ptr<OrderedTable> OrderedTable::Grown(uint64_t position) const {
  const uint32_t capacity = full() ? (capacity_ + capacity_ / 8 + 7) / 8 * 8 : capacity_;
  const int needed = static_cast<int>(std::bit_width(position));
  // One bit more than needed, so that each doubling of the log widens a table once.
  const int position_bits =
      needed > position_bits_ ? std::min(needed + 1, Slot::kMaxPositionBits) : position_bits_;
  return Copy(capacity, prefix_bits_, position_bits, std::nullopt);
}

std::pair<std::unique_ptr<OrderedTable>, std::unique_ptr<OrderedTable>> OrderedTable::Split() const {
  const auto half = [this](int bit) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < size_; ++i) {
      if (words_[i] != 0 && static_cast<int>(TagOf(words_[i]) >> 63) == bit) ++count;
    }
    const uint32_t capacity = std::max(kMinCapacity, (count + count / 6 + 8) / 8 * 8);
    return Copy(capacity, prefix_bits_ + 1, position_bits_, bit);
  };
  return {half(0), half(1)};
}

}  // namespace thermocline::storage
