#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "storage/cancellation.h"
#include "storage/executor.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {

// Hands out one amount of memory to those who ask, in the order in which they asked; who asks for a 64th of
// it, or less, is not kept waiting by who waits for more. Thread-safe.
class MemoryLine : public std::enable_shared_from_this<MemoryLine> {
 public:
  // `executor` must outlive everything.
  MemoryLine(uint64_t limit, Executor& executor) : limit_(limit), executor_(executor) {}

  // Bytes that are given back when this is destroyed.
  class Grant {
   public:
    Grant() = default;
    Grant(Grant&& other) noexcept { *this = std::move(other); }
    Grant& operator=(Grant&& other) noexcept {
      std::swap(line_, other.line_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Grant();

    uint64_t bytes() const { return bytes_; }

   private:
    friend class MemoryLine;
    Grant(std::shared_ptr<MemoryLine> line, uint64_t bytes) : line_(std::move(line)), bytes_(bytes) {}

    std::shared_ptr<MemoryLine> line_;
    uint64_t bytes_ = 0;
  };

  // Calls `granted` during the call or later on the executor. RESOURCE_EXHAUSTED: there is not so much memory
  // at all, or not within `patience`; `what` names who wants it. UNAVAILABLE: closed. CANCELLED: by
  // `cancellation`.
  using Granted = absl::AnyInvocable<void(absl::StatusOr<Grant>)>;
  void Request(uint64_t bytes, std::chrono::milliseconds patience, std::string what, Granted granted,
               const Cancellation& cancellation = {});

  // Refuses those who wait, and who asks later.
  void Close();

  struct Counts {
    uint64_t used = 0;
    uint64_t waiting = 0;
    uint64_t refused = 0;
  };
  Counts counts() const;
  uint64_t limit() const { return limit_; }

 private:
  struct Waiter {
    uint64_t bytes = 0;
    std::string what;
    Granted granted;
    std::shared_ptr<const void> listening;  // for its cancellation
  };

  static void Answer(Waiter& waiter, absl::StatusOr<Grant> answer);
  void Give(uint64_t bytes);
  void ServeWaiting();
  // Ends the wait, if it has not ended.
  void Withdraw(const std::shared_ptr<Waiter>& waiter, const absl::Status& why);
  void Expire(const std::shared_ptr<Waiter>& waiter);
  bool Fits(uint64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Refusal(const Waiter& waiter, bool ever) const;

  const uint64_t limit_;
  Executor& executor_;
  mutable Mutex mutex_;
  std::deque<std::shared_ptr<Waiter>> waiting_ ABSL_GUARDED_BY(mutex_);
  uint64_t used_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace thermocline::storage::segment
