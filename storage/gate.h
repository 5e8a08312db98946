#pragma once

#include <atomic>
#include <cstdint>

#include "storage/thread_annotations.h"

namespace thermocline::storage {

// Counts those inside, and can be closed: no more come in, and the closer waits for those inside to leave.
// Thread-safe. Nobody touches the gate after having left, so it may be destroyed when Close returns; who
// enters needs to know that it still exists.
class Gate {
 public:
  // False: it is closed. After true, call Leave().
  bool Enter() {
    uint64_t state = state_.load(std::memory_order_relaxed);
    while ((state & kClosed) == 0) {
      if (state_.compare_exchange_weak(state, state + 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  void Leave() {
    uint64_t state = state_.load(std::memory_order_relaxed);
    while ((state & kClosed) == 0) {
      // Release: what was done inside happens before Close returns.
      if (state_.compare_exchange_weak(state, state - 1, std::memory_order_release,
                                       std::memory_order_relaxed))
        return;
    }
    MutexLock lock(mutex_);
    state_.fetch_sub(1, std::memory_order_release);
    left_.NotifyAll();
  }

  void Close() {
    MutexLock lock(mutex_);
    state_.fetch_or(kClosed, std::memory_order_acquire);
    while (state_.load(std::memory_order_acquire) != kClosed) left_.Wait(mutex_);
  }

 private:
  static constexpr uint64_t kClosed = uint64_t{1} << 63;

  std::atomic<uint64_t> state_{0};  // how many are inside, and kClosed
  Mutex mutex_;
  CondVar left_;
};

}  // namespace thermocline::storage
