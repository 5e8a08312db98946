#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "storage/thread_annotations.h"

namespace thermocline::storage {

// Hashes whose slots became unresolved a short while ago. To resolve them soon is cheap: the head is in
// memory, and the chain is short, while the chain of a key that is often overwritten gets longer with every
// write. What does not fit is forgotten; it is found by looking through the index. Thread-safe.
class BlindWrites {
 public:
  void Add(uint64_t hash) {
    MutexLock lock(mutex_);
    if (hashes_.size() < kMost) {
      hashes_.push_back(hash);
    } else {
      forgotten_ = true;
    }
  }
  // True if some did not fit since the last call.
  bool TakeForgotten() {
    MutexLock lock(mutex_);
    return std::exchange(forgotten_, false);
  }
  std::vector<uint64_t> TakeAll() {
    MutexLock lock(mutex_);
    return std::exchange(hashes_, {});
  }

  static constexpr size_t kMost = 4096;

 private:
  Mutex mutex_;
  std::vector<uint64_t> hashes_ ABSL_GUARDED_BY(mutex_);
  bool forgotten_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace thermocline::storage
