#include "storage/object/s3/part_memory.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>

#include <fmt/format.h>

namespace thermocline::storage::s3 {

// Not from the heap, which would keep some of what has been freed, beyond the limit.
std::unique_ptr<PartMemory::Buffer> PartMemory::Map(size_t bytes) {
  void* const data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    Give(bytes);
    return nullptr;
  }
  return std::unique_ptr<Buffer>(new Buffer(*this, static_cast<char*>(data), bytes));
}

PartMemory::Buffer::~Buffer() {
  munmap(data_, capacity_);
  memory_.Give(capacity_);
}

size_t PartMemory::Buffer::Append(std::string_view bytes) {
  const size_t taken = std::min(bytes.size(), capacity_ - size_);
  if (taken > 0) std::memcpy(data_ + size_, bytes.data(), taken);
  size_ += taken;
  return taken;
}

std::unique_ptr<PartMemory::Buffer> PartMemory::TryTake(size_t bytes) {
  {
    MutexLock lock(mutex_);
    if (!line_.empty() || bytes > limit_ - used_) return nullptr;
    used_ += bytes;
  }
  return Map(bytes);
}

absl::StatusOr<std::unique_ptr<PartMemory::Buffer>> PartMemory::Take(size_t bytes,
                                                                     std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  {
    MutexLock lock(mutex_);
    const void* const me = &deadline;
    line_.push_back(me);
    bool in_time = bytes <= limit_;
    while (in_time && (line_.front() != me || bytes > limit_ - used_))
      in_time = changed_.WaitUntil(mutex_, deadline);
    const bool taken = line_.front() == me && bytes <= limit_ - used_;
    if (taken) used_ += bytes;
    line_.erase(std::find(line_.begin(), line_.end(), me));
    changed_.NotifyAll();
    if (!taken) {
      return absl::ResourceExhaustedError(fmt::format(
          "no buffer of {} bytes for an upload within {} ms: {} of {} bytes are taken by others; allow more "
          "memory for S3, or fewer uploads at a time",
          bytes, patience.count(), used_, limit_));
    }
  }
  std::unique_ptr<Buffer> buffer = Map(bytes);
  if (buffer == nullptr) return absl::ResourceExhaustedError("the system has no memory for an upload");
  return buffer;
}

void PartMemory::Give(size_t bytes) {
  MutexLock lock(mutex_);
  used_ -= bytes;
  changed_.NotifyAll();
}

uint64_t PartMemory::used() const {
  MutexLock lock(mutex_);
  return used_;
}

uint64_t PartMemory::waiting() const {
  MutexLock lock(mutex_);
  return line_.size();
}

}  // namespace thermocline::storage::s3
