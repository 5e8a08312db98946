#include "storage/executor_reads.h"

#include <utility>

namespace thermocline::storage {

// Counts as a pending read as long as it lives.
class ExecutorReads::Pending {
 public:
  explicit Pending(ExecutorReads& reads) : reads_(&reads) {
    MutexLock lock(reads.mutex_);
    ++reads.pending_;
  }
  Pending(Pending&& other) noexcept : reads_(std::exchange(other.reads_, nullptr)) {}
  Pending& operator=(Pending&&) = delete;
  ~Pending() {
    if (reads_ == nullptr) return;
    MutexLock lock(reads_->mutex_);
    // Notified under the lock: whoever waits may destroy the condition once it has the lock.
    if (--reads_->pending_ == 0) reads_->none_pending_.NotifyAll();
  }

 private:
  ExecutorReads* reads_;
};

ExecutorReads::~ExecutorReads() {
  MutexLock lock(mutex_);
  while (pending_ > 0) none_pending_.Wait(mutex_);
}

void ExecutorReads::SubmitAll(std::span<DiskRead> reads) {
  struct Task {
    Pending
        pending;  // first, so that it goes last: what the completion holds is gone before the count says so
    DiskRead read;

    void operator()() { read.done(read.file->ReadAt(read.offset, read.out)); }
  };
  for (DiskRead& read : reads) executor_.Run(Task{Pending(*this), std::move(read)});
}

}  // namespace thermocline::storage
