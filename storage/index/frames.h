#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "storage/memory_budget.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// The memory of the index: frames of one size, one behind the other in one range of addresses that is
// reserved at first, of huge pages where the system gives them: a random access then costs no walk through
// page tables. A frame is known by its number, which takes half as much as a pointer. Memory is taken from
// the budget's index share by slabs of up to 2 MiB. Frames are never given back one by one: all go with this
// object. Thread-safe.
class Frames {
 public:
  static constexpr uint64_t kMinBytes = 2 << 10;
  static constexpr uint64_t kMaxBytes = 64 << 10;

  // Of `frame_bytes`: a power of two between these.
  explicit Frames(MemoryBudget& budget, uint64_t frame_bytes = kMinBytes);
  ~Frames();
  Frames(const Frames&) = delete;
  Frames& operator=(const Frames&) = delete;

  // False: the system has refused the addresses, so there will never be a frame.
  bool ok() const { return reserved_ != nullptr; }

  // A frame of zeros. nullopt: the budget or the system has no memory for it.
  std::optional<uint32_t> Take();
  uint64_t* At(uint32_t number) const { return first_ + (uint64_t{number} << words_log2_); }

  uint32_t words() const { return uint32_t{1} << words_log2_; }
  int words_log2() const { return words_log2_; }
  MemoryBudget& budget() const { return budget_; }

 private:
  bool AddSlab() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t frame_bytes() const { return words() * sizeof(uint64_t); }

  const int words_log2_;
  MemoryBudget& budget_;
  const size_t slab_bytes_;      // where the budget has as much left
  const size_t reserved_bytes_;  // of addresses
  void* const reserved_;         // nullptr: the system has refused
  uint64_t* const first_;        // in it: the first frame

  Mutex mutex_;
  uint64_t next_ ABSL_GUARDED_BY(mutex_) = 0;       // the number of the frame to be taken next
  uint64_t slabs_end_ ABSL_GUARDED_BY(mutex_) = 0;  // bytes that are taken from the budget
};

}  // namespace thermocline::storage
