#include "storage/segment/read_context.h"

#include "storage/segment/id_file.h"

namespace thermocline::storage::segment {

void ReadContext::Read(std::shared_ptr<Object> object, uint64_t offset, size_t bytes,
                       const std::shared_ptr<PendingRead>& read) {
  if (read->capacity_ < bytes) {
    read->memory_ = std::make_unique<char[]>(bytes + kDecodeSlackBytes);
    read->capacity_ = bytes;
  }
  read->bytes_ = bytes;
  if (!gate_.Enter()) {
    read->status_ = absl::UnavailableError("the server is stopping");
    return Completed();
  }
  Count(&ReadCounts::bytes_read, bytes);
  read->done_.store(false, std::memory_order_relaxed);
  Object& source = *object;
  const std::span<char> out(read->memory_.get(), bytes);
  source.Read(
      offset, out,
      [self = shared_from_this(), kept = read, object = std::move(object)](absl::Status status) mutable {
        Gate& gate = self->gate_;
        kept->status_ = std::move(status);
        kept->done_.store(true, std::memory_order_release);
        kept.reset();
        self->Completed();
        object.reset();
        self.reset();
        gate.Leave();
      });
}

uint64_t ReadContext::completed() const {
  MutexLock lock(mutex_);
  return completed_;
}

void ReadContext::Completed() {
  MutexLock lock(mutex_);
  ++completed_;
  changed_.NotifyAll();
  // Under the lock, so that SetWake waits for it.
  if (std::exchange(parked_, false) && wake_ != nullptr) wake_();
}

bool ReadContext::Park(uint64_t seen) {
  MutexLock lock(mutex_);
  if (completed_ > seen) return false;
  parked_ = true;
  return true;
}

void ReadContext::Await(uint64_t seen) {
  MutexLock lock(mutex_);
  while (completed_ <= seen) changed_.Wait(mutex_);
}

void ReadContext::SetWake(std::function<void()> wake) {
  // What was set before is destroyed without the lock: it may be the last to hold its query.
  MutexLock lock(mutex_);
  std::swap(wake_, wake);
  parked_ = false;
}

}  // namespace thermocline::storage::segment
