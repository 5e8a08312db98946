#pragma once

#include <utility>

#include "absl/base/thread_annotations.h"

#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {

// The completions of something that its owner may destroy at any time, also within one of them. Thread-safe.
class Completions {
 public:
  // Calls `completion`, unless Stop was called.
  template <typename Completion>
  void Deliver(Completion completion) {
    {
      MutexLock lock(mutex_);
      if (stopped_) return;
      ++delivering_;
    }
    const Completions* const outer = std::exchange(delivering_here_, this);
    completion();
    delivering_here_ = outer;
    MutexLock lock(mutex_);
    --delivering_;
    delivered_.NotifyAll();
  }

  // None is called when this has returned, but for the one that calls this.
  void Stop() {
    MutexLock lock(mutex_);
    stopped_ = true;
    while (delivering_ > (delivering_here_ == this ? 1 : 0)) delivered_.Wait(mutex_);
  }

  bool stopped() const {
    MutexLock lock(mutex_);
    return stopped_;
  }

 private:
  // Whose completion this thread is inside of.
  static inline thread_local const Completions* delivering_here_ = nullptr;

  mutable Mutex mutex_;
  CondVar delivered_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  int delivering_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace thermocline::storage::segment
