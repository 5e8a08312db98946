#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "storage/cancellation.h"
#include "storage/gate.h"
#include "storage/object_store.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {

// What the streams of one query have done. Thread-safe.
struct ReadCounts {
  std::atomic<uint64_t> blocks{0};         // of all files
  std::atomic<uint64_t> blocks_read{0};    // that were decoded
  std::atomic<uint64_t> blocks_passed{0};  // that lie behind
  std::atomic<uint64_t> bytes_read{0};
};

// A piece of an object, on its way into memory or there.
class PendingRead {
 public:
  // Thread-safe.
  bool done() const { return done_.load(std::memory_order_acquire); }
  // Once done.
  const absl::Status& status() const { return status_; }
  std::span<const char> bytes() const { return {memory_.get(), bytes_}; }
  size_t capacity() const { return capacity_; }

 private:
  friend class ReadContext;
  std::unique_ptr<char[]> memory_;
  size_t capacity_ = 0;
  size_t bytes_ = 0;
  absl::Status status_;
  std::atomic<bool> done_{true};  // release when the rest is set; acquire in done()
};

// The reads of one query. Streams call it on the query's thread; reads complete on others, and wake the query
// if it waits.
class ReadContext : public std::enable_shared_from_this<ReadContext> {
 public:
  // `gate` is entered for each read; `total` counts for all queries together. Both must outlive every read.
  ReadContext(Gate& gate, ReadCounts& total) : gate_(gate), total_(total) {}

  // Before any use: whether anybody still wants what is read.
  void SetCancellation(Cancellation cancellation) { cancellation_ = std::move(cancellation); }
  bool cancelled() const { return cancellation_.cancelled(); }

  // `wake` is called on a thread that serves other reads, at most once for each Park. Of what was set before,
  // no call comes any more once this has returned.
  void SetWake(std::function<void()> wake);

  // Begins to read into `read`, which must be done, and gets memory for `bytes` and kDecodeSlackBytes more
  // unless it has enough. It fails with UNAVAILABLE when the gate is closed. `object` is kept until it is
  // done.
  void Read(std::shared_ptr<Object> object, uint64_t offset, size_t bytes,
            const std::shared_ptr<PendingRead>& read);

  // A stream cannot go on before a read of its own is done.
  void SetBlocked() { blocked_ = true; }
  // Whether one said so since the last call.
  bool TakeBlocked() { return std::exchange(blocked_, false); }

  // How many reads have completed.
  uint64_t completed() const;
  // Asks to be woken when more reads have completed than `seen`. False: they have already.
  bool Park(uint64_t seen);
  // Waits for that.
  void Await(uint64_t seen);
  ReadCounts& counts() { return counts_; }
  ReadCounts& total() { return total_; }
  void CountRead() { Count(&ReadCounts::blocks_read, 1); }
  void CountPassed(uint64_t blocks) { Count(&ReadCounts::blocks_passed, blocks); }

 private:
  void Count(std::atomic<uint64_t> ReadCounts::*what, uint64_t add) {
    (counts_.*what).fetch_add(add, std::memory_order_relaxed);
    (total_.*what).fetch_add(add, std::memory_order_relaxed);
  }
  void Completed();

  Gate& gate_;
  ReadCounts& total_;
  ReadCounts counts_;
  Cancellation cancellation_;
  bool blocked_ = false;

  mutable Mutex mutex_;
  CondVar changed_;
  std::function<void()> wake_ ABSL_GUARDED_BY(mutex_);
  uint64_t completed_ ABSL_GUARDED_BY(mutex_) = 0;
  bool parked_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace thermocline::storage::segment
