#pragma once

#include <cstddef>
#include <cstdint>

#include "storage/memory_budget.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// The memory of the index: frames of 2 KiB, one behind the other in one range of addresses that is reserved
// at first, of huge pages where the system gives them: a random access then costs no walk through page
// tables. It is taken from the budget's index share by slabs of up to 2 MiB. Frames are never given back one
// by one: all go with this object. Thread-safe.
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
  bool AddSlab() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  MemoryBudget& budget_;
  const size_t slab_bytes_;      // where the budget has as much left
  const size_t reserved_bytes_;  // of addresses
  void* const reserved_;         // nullptr: the system has refused

  Mutex mutex_;
  char* begin_ ABSL_GUARDED_BY(mutex_);
  char* next_ ABSL_GUARDED_BY(mutex_);  // frames from here to end_ have not been taken
  char* end_ ABSL_GUARDED_BY(mutex_);   // of what is taken from the budget
};

}  // namespace thermocline::storage
