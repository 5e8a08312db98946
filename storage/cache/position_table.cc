#include "storage/cache/position_table.h"

#include <algorithm>
#include <bit>

namespace thermocline::storage {
namespace {

constexpr MemoryBudget::Share kShare = MemoryBudget::Share::kCache;

// Of the cache, for each small table.
constexpr uint64_t kBytesPerTable = 256 << 10;
constexpr uint32_t kMinBuckets = 4;
// To make room for an entry.
constexpr int kMostMoves = 3;

int TableBits(uint64_t cache_bytes) {
  return std::clamp(static_cast<int>(std::bit_width(cache_bytes / kBytesPerTable)) - 1, 0, 20);
}

}  // namespace

PositionTable::PositionTable(MemoryBudget& budget, uint64_t cache_bytes)
    : budget_(budget),
      table_bits_(TableBits(cache_bytes)),
      tables_(new std::atomic<Table*>[size_t{1} << table_bits_] {}) {}

PositionTable::~PositionTable() {
  for (size_t i = 0; i < size_t{1} << table_bits_; ++i) {
    if (Table* table = tables_[i].load(std::memory_order_relaxed)) retired_.emplace_back(table);
  }
  FreeRetired();
}

void PositionTable::FreeRetired() {
  for (std::unique_ptr<Table>& table : retired_) {
    const uint64_t bytes = table->bytes();
    table.reset();
    budget_.Give(kShare, bytes);
  }
  retired_.clear();
}

std::atomic<uint64_t>* PositionTable::EmptyIn(Bucket& bucket) {
  for (std::atomic<uint64_t>& word : bucket) {
    if (word.load(std::memory_order_relaxed) == 0) return &word;
  }
  return nullptr;
}

// Moves an entry of a full bucket to its other one, in which others may have to move first.
std::atomic<uint64_t>* PositionTable::MakeRoom(Table& table, uint32_t bucket, int most_moves) {
  for (const int moves : {1, most_moves}) {
    for (std::atomic<uint64_t>& word : table.bucket(bucket)) {
      const CacheEntry entry(word.load(std::memory_order_relaxed));
      if (!entry) return &word;
      const uint32_t other = OtherBucket(bucket, entry.tag(), table);
      if (other == bucket) continue;
      std::atomic<uint64_t>* empty = EmptyIn(table.bucket(other));
      if (empty == nullptr && moves > 1) empty = MakeRoom(table, other, moves - 1);
      // The other bucket may have made room at this one's cost.
      if (empty == nullptr || !entry.SamePlace(CacheEntry(word.load(std::memory_order_relaxed)))) continue;
      // First there, then gone from here: few readers miss it. A use that is counted in between is lost.
      empty->store(entry.word(), std::memory_order_release);
      word.store(0, std::memory_order_release);
      return &word;
    }
  }
  return EmptyIn(table.bucket(bucket));
}

bool PositionTable::Put(Table& table, uint64_t hash, CacheEntry entry) {
  const uint32_t first = FirstBucket(hash, table.buckets);
  const uint32_t second = OtherBucket(first, hash, table);
  std::atomic<uint64_t>* place = EmptyIn(table.bucket(first));
  if (place == nullptr) place = EmptyIn(table.bucket(second));
  if (place == nullptr) place = MakeRoom(table, first, kMostMoves);
  if (place == nullptr) place = MakeRoom(table, second, kMostMoves);
  if (place == nullptr) return false;
  // Release: who finds the entry sees the record.
  place->store(entry.word(), std::memory_order_release);
  ++table.entries;
  return true;
}

bool PositionTable::Resize(size_t index, uint32_t buckets, HashOf hash_of) {
  if (!budget_.TryTake(kShare, Table::bytes_of(buckets))) return false;
  auto fresh = std::make_unique<Table>(buckets);
  std::unique_ptr<Table> old(tables_[index].load(std::memory_order_relaxed));
  uint64_t forgotten = 0;
  for (uint32_t i = 0; old != nullptr && i < old->buckets; ++i) {
    for (std::atomic<uint64_t>& word : old->bucket(i)) {
      const CacheEntry entry(word.load(std::memory_order_relaxed));
      if (entry && !Put(*fresh, hash_of(entry), entry)) ++forgotten;
    }
  }
  entries_.fetch_sub(forgotten, std::memory_order_relaxed);
  tables_[index].store(fresh.release(), std::memory_order_release);
  if (old != nullptr) retired_.push_back(std::move(old));
  return true;
}

bool PositionTable::Insert(uint64_t hash, CacheEntry entry, HashOf hash_of) {
  const size_t index = TableOf(hash);
  Table* table = tables_[index].load(std::memory_order_relaxed);
  // Above this load room would be hard to find.
  const bool full = table == nullptr || table->entries >= uint64_t{table->capacity()} * 15 / 16;
  if (full || !Put(*table, hash, entry)) {
    const uint32_t buckets = table == nullptr ? kMinBuckets : table->buckets + table->buckets / 8 + 1;
    Resize(index, buckets, hash_of);
    table = tables_[index].load(std::memory_order_relaxed);
    if (table == nullptr || !Put(*table, hash, entry)) return false;
  }
  entries_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

CacheEntry PositionTable::Erase(uint64_t hash, CacheEntry entry, HashOf hash_of) {
  std::atomic<uint64_t>* const word = Find(hash, [&](CacheEntry each) { return each.SamePlace(entry); });
  if (word == nullptr) return {};
  const CacheEntry erased(word->exchange(0, std::memory_order_relaxed));
  entries_.fetch_sub(1, std::memory_order_relaxed);
  const size_t index = TableOf(hash);
  Table* const table = tables_[index].load(std::memory_order_relaxed);
  --table->entries;
  if (table->buckets > kMinBuckets && table->entries < table->capacity() / 2)
    Resize(index, std::max(kMinBuckets, table->buckets * 5 / 8), hash_of);
  return erased;
}

}  // namespace thermocline::storage
