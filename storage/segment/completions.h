#pragma once

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
    const Inside inside{this, innermost_};
    innermost_ = &inside;
    completion();
    innermost_ = inside.outer;
    MutexLock lock(mutex_);
    --delivering_;
    delivered_.NotifyAll();
  }

  // None is called when this has returned, but for those that this is called from.
  void Stop() {
    MutexLock lock(mutex_);
    stopped_ = true;
    int own = 0;
    for (const Inside* inside = innermost_; inside != nullptr; inside = inside->outer)
      own += inside->of == this;
    while (delivering_ > own) delivered_.Wait(mutex_);
  }

  bool stopped() const {
    MutexLock lock(mutex_);
    return stopped_;
  }

 private:
  // Completions that this thread is inside of: one may lead to another's.
  struct Inside {
    const Completions* of;
    const Inside* outer;
  };
  static inline thread_local const Inside* innermost_ = nullptr;

  mutable Mutex mutex_;
  CondVar delivered_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  int delivering_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace thermocline::storage::segment
