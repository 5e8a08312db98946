#include "storage/index/hash_index.h"

#include <cstdlib>
#include <utility>

#include "storage/thread_annotations.h"

namespace thermocline::storage {

using Share = MemoryBudget::Share;

namespace {

constexpr int kFirstPositionBits = 20;
constexpr uint64_t kEntryBytes = sizeof(void*);  // of a directory

}  // namespace

// The directory has 2^depth entries; a table whose prefix is shorter stands in several neighbouring ones.
class HashIndex::Partition {
 public:
  Partition(MemoryBudget& budget, int prefix_bits) : budget_(budget), prefix_bits_(prefix_bits) {
    auto table =
        std::make_unique<OrderedTable>(OrderedTable::kMinCapacity, prefix_bits, kFirstPositionBits, 64);
    // The caller made sure of this much.
    if (!budget_.TryTake(Share::kIndex, table->bytes() + kEntryBytes)) std::abort();
    directory_.push_back(table.release());
  }

  ~Partition() {
    for (size_t i = 0; i < directory_.size();) {
      std::unique_ptr<OrderedTable> table(directory_[i]);
      budget_.Give(Share::kIndex, table->bytes());
      i += SpanOf(*table);
    }
    budget_.Give(Share::kIndex, directory_.size() * kEntryBytes);
  }

  OrderedTable& TableOf(uint64_t hash) const { return *directory_[EntryOf(hash)]; }

  bool Covers(uint64_t latched, uint64_t hash) const {
    const OrderedTable& table = TableOf(latched);
    const int prefix_bits = table.prefix_bits();
    const bool same_table = prefix_bits == 0 || (latched ^ hash) >> (64 - prefix_bits) == 0;
    return same_table && table.SameTag(latched, hash);
  }

  bool Reserve(uint64_t hash, uint64_t position) {
    while (!TableOf(hash).HasRoomFor(position)) {
      OrderedTable& table = TableOf(hash);
      const bool split = table.full() && table.capacity() >= OrderedTable::kMaxCapacity && table.can_split();
      if (!(split ? Split(hash) : Grow(hash, position))) return false;
    }
    return true;
  }

  uint64_t DoubtGroups() {
    uint64_t marked = 0;
    for (size_t i = 0; i < directory_.size(); i += SpanOf(*directory_[i]))
      marked += directory_[i]->DoubtGroups();
    return marked;
  }

  Sweep SweepUnresolved(uint64_t hash) const {
    const OrderedTable& table = TableOf(hash);
    const int prefix_bits = table.prefix_bits();
    const uint64_t last = prefix_bits == 0 ? ~uint64_t{0} : hash | ~uint64_t{0} >> prefix_bits;
    const auto found = table.FirstUnresolved(hash);
    return {.unresolved = found, .next = found ? table.HashBehind(*found) : last + 1};
  }

  Mutex latch;
  uint64_t slots = 0;
  uint64_t erasures = 0;

 private:
  size_t EntryOf(uint64_t hash) const { return depth_ == 0 ? 0 : (hash << prefix_bits_) >> (64 - depth_); }
  size_t SpanOf(const OrderedTable& table) const {
    return size_t{1} << (prefix_bits_ + depth_ - table.prefix_bits());
  }
  size_t FirstEntryOf(uint64_t hash) const {
    return EntryOf(hash) / SpanOf(TableOf(hash)) * SpanOf(TableOf(hash));
  }

  bool Grow(uint64_t hash, uint64_t position) {
    const OrderedTable& old = TableOf(hash);
    // Taken before it is allocated: the copy needs at most a quarter more than this table.
    const uint64_t ceiling = old.bytes() + old.bytes() / 2 + 1024;
    if (!budget_.TryTake(Share::kIndex, ceiling)) return false;
    std::unique_ptr<OrderedTable> grown = old.Grown(position);
    if (!grown->HasRoomFor(position) || grown->bytes() > ceiling) {
      budget_.Give(Share::kIndex, ceiling);
      return false;
    }
    budget_.Give(Share::kIndex, ceiling - grown->bytes());
    const size_t first = FirstEntryOf(hash);
    Install(first, SpanOf(old), std::move(grown));
    return true;
  }

  bool Split(uint64_t hash) {
    if (SpanOf(TableOf(hash)) == 1 && !DoubleDirectory()) return false;
    const OrderedTable& old = TableOf(hash);
    const uint64_t ceiling = 2 * old.bytes() + 2048;
    if (!budget_.TryTake(Share::kIndex, ceiling)) return false;
    auto [low, high] = old.Split();
    budget_.Give(Share::kIndex, ceiling - low->bytes() - high->bytes());
    const size_t first = FirstEntryOf(hash);
    const size_t half = SpanOf(old) / 2;
    // Both halves stand before the old table goes: it is freed by the second Install.
    OrderedTable* const lower = low.release();
    for (size_t i = 0; i < half; ++i) directory_[first + i] = lower;
    Install(first + half, half, std::move(high));
    return true;
  }

  // Puts `table` into the entries and frees the one that was there.
  void Install(size_t first, size_t span, std::unique_ptr<OrderedTable> table) {
    std::unique_ptr<OrderedTable> old(directory_[first]);
    OrderedTable* const installed = table.release();
    for (size_t i = 0; i < span; ++i) directory_[first + i] = installed;
    budget_.Give(Share::kIndex, old->bytes());
  }

  bool DoubleDirectory() {
    if (!budget_.TryTake(Share::kIndex, directory_.size() * kEntryBytes)) return false;
    std::vector<OrderedTable*> doubled;
    doubled.reserve(directory_.size() * 2);
    for (OrderedTable* table : directory_) doubled.insert(doubled.end(), 2, table);
    directory_ = std::move(doubled);
    ++depth_;
    return true;
  }

  MemoryBudget& budget_;
  const int prefix_bits_;
  int depth_ = 0;
  std::vector<OrderedTable*> directory_;  // each table is owned by its first entry
};

HashIndex::HashIndex(MemoryBudget& budget, int partition_bits) : partition_bits_(partition_bits) {
  for (size_t i = 0; i < size_t{1} << partition_bits; ++i) {
    partitions_.push_back(std::make_unique<Partition>(budget, partition_bits));
  }
}

HashIndex::~HashIndex() = default;

uint64_t HashIndex::initial_bytes(int partition_bits) {
  return (OrderedTable::bytes_of(OrderedTable::kMinCapacity) + kEntryBytes) << partition_bits;
}

HashIndex::Partition& HashIndex::PartitionOf(uint64_t hash) const {
  return *partitions_[partition_bits_ == 0 ? 0 : hash >> (64 - partition_bits_)];
}

void HashIndex::WaitForLatches() {
  for (const auto& partition : partitions_) MutexLock lock(partition->latch);
}

uint64_t HashIndex::DoubtGroups() {
  uint64_t marked = 0;
  for (const auto& partition : partitions_) {
    MutexLock lock(partition->latch);
    marked += partition->DoubtGroups();
  }
  return marked;
}

HashIndex::Sweep HashIndex::SweepUnresolved(uint64_t hash) const {
  const Partition& partition = PartitionOf(hash);
  MutexLock lock(PartitionOf(hash).latch);
  return partition.SweepUnresolved(hash);
}

uint64_t HashIndex::slots() const {
  uint64_t total = 0;
  for (const auto& partition : partitions_) {
    MutexLock lock(partition->latch);
    total += partition->slots;
  }
  return total;
}

HashIndex::Latch::Latch(HashIndex& index, uint64_t hash) : hash_(hash), partition_(index.PartitionOf(hash)) {
  partition_.latch.Lock();
}

HashIndex::Latch::~Latch() { partition_.latch.Unlock(); }

Slots HashIndex::Latch::Find() const { return partition_.TableOf(hash_).Find(hash_); }

bool HashIndex::Latch::Covers(uint64_t hash) const { return partition_.Covers(hash_, hash); }

bool HashIndex::Latch::Reserve(uint64_t position) { return partition_.Reserve(hash_, position); }

void HashIndex::Latch::Insert(const Slot& slot) {
  partition_.TableOf(hash_).Insert(hash_, slot);
  ++partition_.slots;
}

void HashIndex::Latch::Replace(uint64_t position, const Slot& slot) {
  if (!partition_.TableOf(hash_).Replace(hash_, position, slot)) std::abort();
}

void HashIndex::Latch::Erase(uint64_t position) {
  if (!partition_.TableOf(hash_).Erase(hash_, position)) std::abort();
  --partition_.slots;
  ++partition_.erasures;
}

uint64_t HashIndex::Latch::erasures() const { return partition_.erasures; }

}  // namespace thermocline::storage
