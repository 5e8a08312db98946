#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "storage/log/format.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// Records that are known to be dead, while nothing on the disk says so yet: compaction writes their graves.
// Until then a restart meets them as doubtful and finds out again. Thread-safe.
class GraveList {
 public:
  struct Grave {
    uint64_t hash = 0;
    Position dead = 0;
  };

  void Add(uint64_t hash, Position dead) {
    MutexLock lock(mutex_);
    graves_.push_back({hash, dead});
  }
  std::vector<Grave> all() const {
    MutexLock lock(mutex_);
    return graves_;
  }
  std::vector<Grave> TakeAll() {
    MutexLock lock(mutex_);
    return std::exchange(graves_, {});
  }

 private:
  mutable Mutex mutex_;
  std::vector<Grave> graves_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::storage
