#include "storage/index/hash_index.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "storage/thread_annotations.h"

namespace thermocline::storage {

namespace {

constexpr uint64_t kCacheLine = 64;
// Of a partition that the whole budget is for, evenly. So the numbers of all frames stay in the processor's
// cache, while a table grows by an eighth or less.
constexpr uint64_t kFrames = 128;

uint64_t FrameBytes(uint64_t limit, int partition_bits) {
  const uint64_t bytes = std::bit_floor((limit >> partition_bits) / kFrames);
  return std::clamp(bytes, Frames::kMinBytes, Frames::kMaxBytes);
}

}  // namespace

class alignas(kCacheLine) HashIndex::Partition {
 public:
  struct Parts {
    Frames& frames;
    int prefix_bits;
    uint64_t number;
  };
  explicit Partition(const Parts& parts) : table(parts.frames, parts.prefix_bits, parts.number) {}

  Mutex latch;
  OrderedTable table;
  uint64_t erasures = 0;
};

HashIndex::HashIndex(MemoryBudget& budget, int partition_bits, uint64_t base)
    : partition_bits_(partition_bits),
      base_(base),
      frames_(budget, FrameBytes(budget.limit(), partition_bits)) {
  std::vector<Partition::Parts> parts;
  for (uint64_t i = 0; i < uint64_t{1} << partition_bits; ++i) parts.push_back({frames_, partition_bits, i});
  partitions_ = std::vector<Partition>(parts.begin(), parts.end());
}

HashIndex::~HashIndex() = default;

uint64_t HashIndex::initial_bytes(int partition_bits, uint64_t limit) {
  return (FrameBytes(limit, partition_bits) + sizeof(uint32_t)) << partition_bits;
}

HashIndex::Partition& HashIndex::PartitionOf(uint64_t hash) const {
  return partitions_[partition_bits_ == 0 ? 0 : hash >> (64 - partition_bits_)];
}

uint64_t HashIndex::PrefixOf(uint64_t hash) const {
  return partition_bits_ == 0 ? 0 : hash & ~uint64_t{0} << (64 - partition_bits_);
}

Slot HashIndex::Within(Slot slot) const {
  slot.position -= base_;
  return slot;
}

void HashIndex::Prefetch(uint64_t hash) const {
  Partition& partition = PartitionOf(hash);
  MutexLock lock(partition.latch);
  partition.table.Prefetch(hash);
}

void HashIndex::WaitForLatches() {
  for (Partition& partition : partitions_) MutexLock lock(partition.latch);
}

uint64_t HashIndex::DoubtGroups(absl::FunctionRef<bool(uint64_t position)> doubtful) {
  const auto doubtful_within = [&](uint64_t position) { return doubtful(base_ + position); };
  uint64_t marked = 0;
  for (Partition& partition : partitions_) {
    MutexLock lock(partition.latch);
    marked += partition.table.DoubtGroups(doubtful_within);
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

size_t HashIndex::partitions() const { return partitions_.size(); }

HashIndex::Shape HashIndex::ShapeOf(size_t partition) const {
  MutexLock lock(partitions_[partition].latch);
  return partitions_[partition].table.shape();
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
  for (size_t i = before; i < out.size(); ++i) {
    out[i].hash |= prefix;
    out[i].slot.position += base_;
  }
  return next ? std::optional<uint64_t>(prefix | *next) : std::nullopt;
}

bool HashIndex::Prepare(size_t partition, const Shape& shape, uint64_t position) {
  MutexLock lock(partitions_[partition].latch);
  return partitions_[partition].table.Prepare(shape, position - std::min(position, base_));
}

bool HashIndex::Fill(std::span<const Entry> entries) {
  if (entries.empty()) return true;
  Partition& partition = PartitionOf(entries.front().hash);
  MutexLock lock(partition.latch);
  uint32_t next = 0;
  for (const Entry& entry : entries) {
    if (!partition.table.Append(entry.hash, Within(entry.slot), next)) return false;
  }
  return true;
}

uint64_t HashIndex::slots() const {
  uint64_t total = 0;
  for (Partition& partition : partitions_) {
    MutexLock lock(partition.latch);
    total += partition.table.count();
  }
  return total;
}

HashIndex::Latch::Latch(HashIndex& index, uint64_t hash)
    : index_(index), hash_(hash), partition_(index.PartitionOf(hash)) {
  partition_.latch.Lock();
}

HashIndex::Latch::~Latch() { partition_.latch.Unlock(); }

void HashIndex::Latch::Prefetch(uint64_t hash) const { partition_.table.Prefetch(hash); }

Slots HashIndex::Latch::Find() const {
  Slots slots = partition_.table.Find(hash_);
  for (Slot& slot : slots) slot.position += index_.base_;
  return slots;
}

bool HashIndex::Latch::Covers(uint64_t hash) const {
  return &index_.PartitionOf(hash) == &partition_ && partition_.table.SameTag(hash_, hash);
}

bool HashIndex::Latch::Reserve(uint64_t position) {
  return partition_.table.Reserve(position - index_.base_);
}

void HashIndex::Latch::ReserveReplace(uint64_t position) {
  if (!partition_.table.Reserve(position - index_.base_, /*insert=*/false)) std::abort();
}

void HashIndex::Latch::Insert(const Slot& slot) { partition_.table.Insert(hash_, index_.Within(slot)); }

void HashIndex::Latch::Replace(uint64_t position, const Slot& slot) {
  if (!partition_.table.Replace(hash_, position - index_.base_, index_.Within(slot))) std::abort();
}

void HashIndex::Latch::Erase(uint64_t position) {
  if (!partition_.table.Erase(hash_, position - index_.base_)) std::abort();
  ++partition_.erasures;
}

uint64_t HashIndex::Latch::erasures() const { return partition_.erasures; }

}  // namespace thermocline::storage
