#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "storage/memory_budget.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// The memory of the index: frames of 2 KiB that are cut from slabs of up to 2 MiB, each a huge page where the
// system gives one, so that a random access costs no walk through page tables. A slab is taken from the
// budget's index share as a whole. Frames are never given back one by one: all go with this object.
// Thread-safe.
class Frames {
 public:
  static constexpr uint32_t kWords = 256;
  static constexpr uint64_t kBytes = kWords * sizeof(uint64_t);

  explicit Frames(MemoryBudget& budget);
  ~Frames();
  Frames(const Frames&) = delete;
  Frames& operator=(const Frames&) = delete;

  // A frame of zeros. nullptr: the budget or the system has no memory for it.
  uint64_t* Take();

  MemoryBudget& budget() const { return budget_; }

 private:
  struct Slab {
    void* begin;
    size_t bytes;
  };

  bool AddSlab() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  MemoryBudget& budget_;
  const size_t slab_bytes_;  // where the budget has as much left

  Mutex mutex_;
  std::vector<Slab> slabs_ ABSL_GUARDED_BY(mutex_);
  char* next_ ABSL_GUARDED_BY(mutex_) = nullptr;  // frames from here to end_ have not been taken
  char* end_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace thermocline::storage
