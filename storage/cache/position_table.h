#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"

#include "storage/cache/doorkeeper.h"
#include "storage/memory_budget.h"

namespace thermocline::storage {

// Where a record stands in the cache, how often it was used, and part of the hash of its position: eight
// bytes. 0 is none.
class CacheEntry {
 public:
  static constexpr uint32_t kAlignment = 4;
  static constexpr unsigned kUseBits = 2;
  static constexpr unsigned kOffsetBits = 18;
  static constexpr unsigned kSegmentBits = 23;
  static constexpr unsigned kTagBits = 64 - kUseBits - kOffsetBits - kSegmentBits;
  static constexpr uint32_t kMostUses = (1 << kUseBits) - 1;
  static constexpr uint32_t kMaxSegments = (1U << kSegmentBits) - 1;

  CacheEntry() = default;
  explicit CacheEntry(uint64_t word) : word_(word) {}
  // `segment` from 1; `offset` a multiple of kAlignment, below 2^20.
  CacheEntry(uint64_t hash, uint32_t segment, uint32_t offset, uint32_t uses)
      : word_((hash & kTagMask) << kTagShift | uint64_t{segment} << kSegmentShift |
              uint64_t{offset / kAlignment} << kUseBits | uses) {}

  uint64_t word() const { return word_; }
  explicit operator bool() const { return word_ != 0; }
  bool HasTagOf(uint64_t hash) const { return word_ >> kTagShift == (hash & kTagMask); }
  uint64_t tag() const { return word_ >> kTagShift; }
  uint32_t segment() const { return static_cast<uint32_t>(word_ >> kSegmentShift) & kMaxSegments; }
  uint32_t offset() const {
    return (static_cast<uint32_t>(word_ >> kUseBits) & ((1U << kOffsetBits) - 1)) * kAlignment;
  }
  uint32_t uses() const { return static_cast<uint32_t>(word_) & kMostUses; }
  CacheEntry WithUses(uint32_t uses) const { return CacheEntry((word_ & ~uint64_t{kMostUses}) | uses); }
  bool SamePlace(CacheEntry other) const { return (word_ ^ other.word_) >> kUseBits == 0; }

 private:
  static constexpr unsigned kSegmentShift = kUseBits + kOffsetBits;
  static constexpr unsigned kTagShift = kSegmentShift + kSegmentBits;
  static constexpr uint64_t kTagMask = (uint64_t{1} << kTagBits) - 1;

  uint64_t word_ = 0;
};

// A hash table of CacheEntry, by the hash of the position. It is made of many small tables, each of which
// grows and shrinks on its own, so that no step is long. A small table consists of buckets of a cache line;
// an entry stands in one of two, and moves to its other one to make room (partial-key cuckoo hashing: Fan et
// al., NSDI 2013).
//
// One writer at a time. Readers need no lock, and may miss an entry that is being moved. A small table that
// is replaced is kept until FreeRetired(), which the writer calls when no reader can still look at it.
class PositionTable {
 public:
  // The hash of an entry's position, for a table that is rebuilt.
  using HashOf = absl::FunctionRef<uint64_t(CacheEntry)>;

  // For a cache of up to so many bytes.
  PositionTable(MemoryBudget& budget, uint64_t cache_bytes);
  ~PositionTable();
  PositionTable(const PositionTable&) = delete;
  PositionTable& operator=(const PositionTable&) = delete;

  // The place of the first entry for which `is_it` holds, among those that may be of this hash; else nullptr.
  template <typename IsIt>
  std::atomic<uint64_t>* Find(uint64_t hash, IsIt is_it) const {
    const Table* const table = tables_[TableOf(hash)].load(std::memory_order_acquire);
    if (table == nullptr) return nullptr;
    const uint32_t first = FirstBucket(hash, table->buckets);
    for (uint32_t turn = 0, bucket = first; turn < 2; ++turn, bucket = OtherBucket(first, hash, *table)) {
      for (std::atomic<uint64_t>& word : table->bucket(bucket)) {
        const CacheEntry entry(word.load(std::memory_order_acquire));
        if (entry.HasTagOf(hash) && entry && is_it(entry)) return &word;
      }
    }
    return nullptr;
  }

  // False: there is no memory for it, or no room but by forgetting others.
  bool Insert(uint64_t hash, CacheEntry entry, HashOf hash_of);
  // The entry that stands at the place of `entry`, removed; none if it is not there. May shrink the table.
  CacheEntry Erase(uint64_t hash, CacheEntry entry, HashOf hash_of);

  void FreeRetired();

  uint64_t entries() const { return entries_.load(std::memory_order_relaxed); }

 private:
  static constexpr uint32_t kSlots = 8;
  struct alignas(64) Bucket {
    std::atomic<uint64_t> words[kSlots];
    std::atomic<uint64_t>* begin() { return words; }
    std::atomic<uint64_t>* end() { return words + kSlots; }
  };
  struct Table {
    explicit Table(uint32_t count) : buckets(count), memory(new Bucket[count]{}) {}
    Bucket& bucket(uint32_t index) const { return memory[index]; }
    static uint64_t bytes_of(uint32_t buckets) { return sizeof(Table) + uint64_t{buckets} * sizeof(Bucket); }
    uint64_t bytes() const { return bytes_of(buckets); }
    uint32_t capacity() const { return buckets * kSlots; }

    const uint32_t buckets;
    uint32_t entries = 0;  // the writer's
    const std::unique_ptr<Bucket[]> memory;
  };

  size_t TableOf(uint64_t hash) const { return table_bits_ == 0 ? 0 : hash >> (64 - table_bits_); }
  static uint32_t FirstBucket(uint64_t hash, uint32_t buckets) {
    return static_cast<uint32_t>((hash >> 16 & 0xffffffff) * buckets >> 32);
  }
  // Of a bucket's other one, it is the first again.
  static uint32_t OtherBucket(uint32_t bucket, uint64_t hash, const Table& table) {
    const uint64_t tag = CacheEntry(hash, 0, 0, 0).tag();
    const auto mixed = static_cast<uint32_t>(tag * 0x9e3779b1 >> 3);
    const uint32_t sum = mixed % table.buckets;
    return sum >= bucket ? sum - bucket : sum + table.buckets - bucket;
  }
  static std::atomic<uint64_t>* EmptyIn(Bucket& bucket);
  static std::atomic<uint64_t>* MakeRoom(Table& table, uint32_t bucket, int most_moves);
  static bool Put(Table& table, uint64_t hash, CacheEntry entry);
  bool Resize(size_t index, uint32_t buckets, HashOf hash_of);

  MemoryBudget& budget_;
  const int table_bits_;
  const std::unique_ptr<std::atomic<Table*>[]> tables_;
  std::vector<std::unique_ptr<Table>> retired_;
  std::atomic<uint64_t> entries_{0};
};

}  // namespace thermocline::storage
