#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"

#include "storage/index/frames.h"
#include "storage/index/ordered_table.h"
#include "storage/memory_budget.h"

namespace thermocline::storage {

// Maps 64-bit hashes of keys to positions in the log. It knows no keys: what it finds are candidates, to be
// compared with the key in the record; there may be several for a hash.
//
// The hash's first bits choose a partition: a latch, and a table that it guards. A table grows in place,
// a little with some writes, under the latch that the write holds anyway, whatever its size.
//
// Thread-safe: each partition through its latch. All bulk memory is taken from the budget's index share.
class HashIndex {
 public:
  // `partition_bits` (0..16) fixes the number of latches. All positions are larger than `base`: the nearer it
  // is to them, the more room is left for bits of the hashes while tables are small.
  HashIndex(MemoryBudget& budget, int partition_bits, uint64_t base = 0);
  ~HashIndex();
  HashIndex(const HashIndex&) = delete;
  HashIndex& operator=(const HashIndex&) = delete;

  // What the first slots of all partitions take, where the budget has this limit; or any, at least.
  static uint64_t initial_bytes(int partition_bits, uint64_t limit = 0);

  // False: the system has refused the addresses for as much memory as the budget has, so that there will
  // never be room for a slot.
  bool ok() const { return frames_.ok(); }

  class Partition;

  // The latch of a hash's partition, held until destroyed. A thread holds one at a time.
  class Latch {
   public:
    Latch(HashIndex& index, uint64_t hash);
    ~Latch();
    Latch(const Latch&) = delete;
    Latch& operator=(const Latch&) = delete;

    // Goes on to another hash of the same partition.
    void GoTo(uint64_t hash) { hash_ = hash; }
    // Says that it will go on to this hash soon.
    void Prefetch(uint64_t hash) const;

    // Candidates for the latched hash, in no order.
    Slots Find() const;
    // True if the slots of this hash cannot be told from those of the latched one.
    bool Covers(uint64_t hash) const;
    // Makes sure that the next Insert of a slot at `position` or below finds room. False: the budget has
    // none.
    [[nodiscard]] bool Reserve(uint64_t position);
    // The same for the next Replace of a slot that is there; it takes no memory.
    void ReserveReplace(uint64_t position);
    // After Reserve, under the same latch.
    void Insert(const Slot& slot);
    // Exchanges the slot that has `position`, which must exist. After Reserve or ReserveReplace, under the
    // same latch.
    void Replace(uint64_t position, const Slot& slot);
    // Removes the slot that has `position`, which must exist.
    void Erase(uint64_t position);
    // How many slots have been erased under this latch so far: if it is the same twice, no key that had no
    // slot has come, been moved to deep cold, and so left again in between.
    uint64_t erasures() const;

   private:
    const HashIndex& index_;
    uint64_t hash_;
    Partition& partition_;
  };

  // Says that a latch of this hash will be taken soon: by then, what it will look at is in the processor's
  // cache.
  void Prefetch(uint64_t hash) const;

  // Marks as unresolved the slots whose hash cannot be told from that of another: they may be of the same
  // key. But only those of whose positions `doubtful` says so. Returns how many were not before. Before any
  // other use.
  uint64_t DoubtGroups(absl::FunctionRef<bool(uint64_t position)> doubtful);

  struct Sweep {
    std::optional<uint64_t> unresolved;  // a hash that leads to an unresolved slot
    uint64_t next = 0;                   // where to go on; 0: all has been seen
  };
  // Looks for unresolved slots from `hash` on, some KiB at a time.
  Sweep SweepUnresolved(uint64_t hash) const;

  // What follows is for copies of the index, to be written somewhere and made an index of again. They are
  // made partition by partition, of which each has the hashes with one prefix, in order.
  size_t partitions() const;

  // Of a partition: how many slots, and how many leading bits of their hashes all of them tell at least. The
  // latter shrinks as the partition grows.
  using Shape = OrderedTable::Shape;
  Shape ShapeOf(size_t partition) const;

  using Entry = OrderedTable::Entry;
  // Appends to `out` some thousand slots of the partition of `from`, in the order of their hashes, from
  // `from` on. Returns where to go on in this partition; nullopt: its end. Slots that come, go or change
  // between two calls may be met or not; any that is there all the time is met once.
  std::optional<uint64_t> Copy(uint64_t from, std::vector<Entry>& out) const;

  // Before any other use of the partition: makes it as large as it would be with so many slots at `position`
  // or below, of hashes of which no more bits are known: as few as anything tells that is to be filled in, as
  // the shape does that was asked for after it was copied. False: the budget has no memory.
  [[nodiscard]] bool Prepare(size_t partition, const Shape& shape, uint64_t position);
  // Inserts slots of one partition, in the order of their hashes. It is quick if the partition was prepared
  // for about as many, and what was filled in before is smaller. False: the budget has no memory.
  [[nodiscard]] bool Fill(std::span<const Entry> entries);

  // Returns when every latch that was held at the call has been released: what was made unreachable before
  // the call is then in nobody's hands.
  void WaitForLatches();

  // Takes every latch in turn: exact only while nothing is written.
  uint64_t slots() const;

 private:
  Partition& PartitionOf(uint64_t hash) const;
  uint64_t PrefixOf(uint64_t hash) const;
  Slot Within(Slot slot) const;

  const int partition_bits_;
  const uint64_t base_;
  Frames frames_;
  mutable std::vector<Partition> partitions_;  // each with latch
};

}  // namespace thermocline::storage
