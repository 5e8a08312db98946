#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/thread_annotations.h"

namespace thermocline::storage::s3 {

// The memory of all uploads, handed out in the order in which they asked. Who waits must hold none of it:
// then those who hold some can go on, and nobody waits for ever. Thread-safe; must outlive its buffers.
class PartMemory {
 public:
  explicit PartMemory(uint64_t limit) : limit_(limit) {}

  // A buffer of fixed size that is filled from its beginning; comes from the system and goes back to it.
  class Buffer {
   public:
    ~Buffer();
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    // Takes as much as there is room for, and returns how much that is.
    size_t Append(std::string_view bytes);
    bool is_full() const { return size_ == capacity_; }
    std::string_view bytes() const { return {data_, size_}; }

   private:
    friend class PartMemory;
    Buffer(PartMemory& memory, char* data, size_t capacity)
        : memory_(memory), data_(data), capacity_(capacity) {}

    PartMemory& memory_;
    char* const data_;
    const size_t capacity_;
    size_t size_ = 0;
  };

  // Null if there is not enough, or somebody waits for it.
  std::unique_ptr<Buffer> TryTake(size_t bytes);
  // RESOURCE_EXHAUSTED: not within `patience`, or more than there is at all.
  absl::StatusOr<std::unique_ptr<Buffer>> Take(size_t bytes, std::chrono::milliseconds patience);

  uint64_t limit() const { return limit_; }
  uint64_t used() const;
  uint64_t waiting() const;

 private:
  std::unique_ptr<Buffer> Map(size_t bytes);
  void Give(size_t bytes);

  const uint64_t limit_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<const void*> line_ ABSL_GUARDED_BY(mutex_);  // who waits, by an address of theirs
  uint64_t used_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace thermocline::storage::s3
