#pragma once

#include <chrono>

#include "absl/base/thread_annotations.h"
#include <rocksdb/listener.h>
#include <rocksdb/status.h>

#include "storage/thread_annotations.h"

namespace thermocline::storage::cold {

// Hears from RocksDB's threads what failed and when there may be room at level 0. Thread-safe.
class Watch : public rocksdb::EventListener {
 public:
  void OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo&) override {
    MutexLock lock(mutex_);
    progress_.NotifyAll();
  }

  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status* error) override {
    MutexLock lock(mutex_);
    // A compaction that found no room in the cache for a moment is tried again.
    if (error->IsMemoryLimit()) {
      *error = rocksdb::Status::OK();
    } else if (failure_.ok() || failure_.IsNoSpace()) {
      failure_ = *error;
    }
    progress_.NotifyAll();
  }

  rocksdb::Status failure() const {
    MutexLock lock(mutex_);
    return failure_;
  }
  void ForgetNoSpace() {
    MutexLock lock(mutex_);
    if (failure_.IsNoSpace()) failure_ = rocksdb::Status::OK();
  }
  // Until something has happened, or for a moment: a compaction may have been completed before the call.
  void Wait() {
    MutexLock lock(mutex_);
    progress_.WaitUntil(mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(20));
  }

 private:
  mutable Mutex mutex_;
  CondVar progress_;
  rocksdb::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::storage::cold
