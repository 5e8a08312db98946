#include "storage/index/hash_index.h"

#include <cstdlib>

#include "storage/thread_annotations.h"

namespace thermocline::storage {

class HashIndex::Partition {
 public:
  Partition(Frames& frames, int prefix_bits) : table(frames, prefix_bits) {}

  Mutex latch;
  OrderedTable table;
  uint64_t erasures = 0;
};

HashIndex::HashIndex(MemoryBudget& budget, int partition_bits)
    : partition_bits_(partition_bits), frames_(budget) {
  for (size_t i = 0; i < size_t{1} << partition_bits; ++i) {
    partitions_.push_back(std::make_unique<Partition>(frames_, partition_bits));
  }
}

HashIndex::~HashIndex() = default;

uint64_t HashIndex::initial_bytes(int partition_bits) {
  return (Frames::kBytes + sizeof(uint64_t*)) << partition_bits;
}

HashIndex::Partition& HashIndex::PartitionOf(uint64_t hash) const {
  return *partitions_[partition_bits_ == 0 ? 0 : hash >> (64 - partition_bits_)];
}

uint64_t HashIndex::PrefixOf(uint64_t hash) const {
  return partition_bits_ == 0 ? 0 : hash & ~uint64_t{0} << (64 - partition_bits_);
}

void HashIndex::Prefetch(uint64_t hash) const {
  Partition& partition = PartitionOf(hash);
  MutexLock lock(partition.latch);
  partition.table.Prefetch(hash);
}

void HashIndex::WaitForLatches() {
  for (const auto& partition : partitions_) MutexLock lock(partition->latch);
}

uint64_t HashIndex::DoubtGroups() {
  uint64_t marked = 0;
  for (const auto& partition : partitions_) {
    MutexLock lock(partition->latch);
    marked += partition->table.DoubtGroups();
  }
  return marked;
}

HashIndex::Sweep HashIndex::SweepUnresolved(uint64_t hash) const {
  Partition& partition = PartitionOf(hash);
  const uint64_t prefix = PrefixOf(hash);
  MutexLock lock(partition.latch);
  const OrderedTable::Sweep sweep = partition.table.SweepUnresolved(hash);
  Sweep found;
  if (sweep.unresolved) found.unresolved = prefix | *sweep.unresolved;
  found.next = prefix | sweep.next.value_or(0);
  if (!sweep.next) found.next = partition_bits_ == 0 ? 0 : prefix + (uint64_t{1} << (64 - partition_bits_));
  return found;
}

HashIndex::Shape HashIndex::ShapeOf(size_t partition) const {
  MutexLock lock(partitions_[partition]->latch);
  return partitions_[partition]->table.shape();
}

std::optional<uint64_t> HashIndex::Copy(uint64_t from, std::vector<Entry>& out) const {
  Partition& partition = PartitionOf(from);
  const uint64_t prefix = PrefixOf(from);
  const size_t before = out.size();
  std::optional<uint64_t> next;
  {
    MutexLock lock(partition.latch);
    next = partition.table.Copy(from, out);
  }
  for (size_t i = before; i < out.size(); ++i) out[i].hash |= prefix;
  return next ? std::optional<uint64_t>(prefix | *next) : std::nullopt;
}

bool HashIndex::Prepare(size_t partition, const Shape& shape, uint64_t position) {
  MutexLock lock(partitions_[partition]->latch);
  return partitions_[partition]->table.Prepare(shape, position);
}

bool HashIndex::Fill(std::span<const Entry> entries) {
  if (entries.empty()) return true;
  Partition& partition = PartitionOf(entries.front().hash);
  MutexLock lock(partition.latch);
  uint32_t next = 0;
  for (const Entry& entry : entries) {
    if (!partition.table.Append(entry.hash, entry.slot, next)) return false;
  }
  return true;
}

uint64_t HashIndex::slots() const {
  uint64_t total = 0;
  for (const auto& partition : partitions_) {
    MutexLock lock(partition->latch);
    total += partition->table.count();
  }
  return total;
}

HashIndex::Latch::Latch(HashIndex& index, uint64_t hash)
    : index_(index), hash_(hash), partition_(index.PartitionOf(hash)) {
  partition_.latch.Lock();
}

HashIndex::Latch::~Latch() { partition_.latch.Unlock(); }

Slots HashIndex::Latch::Find() const { return partition_.table.Find(hash_); }

bool HashIndex::Latch::Covers(uint64_t hash) const {
  return &index_.PartitionOf(hash) == &partition_ && partition_.table.SameTag(hash_, hash);
}

bool HashIndex::Latch::Reserve(uint64_t position) { return partition_.table.Reserve(position); }

void HashIndex::Latch::ReserveReplace(uint64_t position) {
  if (!partition_.table.Reserve(position, /*insert=*/false)) std::abort();
}

void HashIndex::Latch::Insert(const Slot& slot) { partition_.table.Insert(hash_, slot); }

void HashIndex::Latch::Replace(uint64_t position, const Slot& slot) {
  if (!partition_.table.Replace(hash_, position, slot)) std::abort();
}

void HashIndex::Latch::Erase(uint64_t position) {
  if (!partition_.table.Erase(hash_, position)) std::abort();
  ++partition_.erasures;
}

uint64_t HashIndex::Latch::erasures() const { return partition_.erasures; }

}  // namespace thermocline::storage
