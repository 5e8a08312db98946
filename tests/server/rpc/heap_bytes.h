#pragma once

#include <atomic>
#include <cstddef>
#include <thread>

namespace thermocline::server::rpc {

// Bytes that the process has allocated and not freed. Unlike resident memory, it does not depend on what the
// allocator keeps, nor on a sanitizer's quarantine.
size_t HeapBytes();

// How far the heap grows, at most, from when this begins; looks every few milliseconds.
class HeapWatch {
 public:
  HeapWatch();
  ~HeapWatch();

  size_t Peak() const { return peak_.load(); }
  // As it is now.
  size_t Growth() const;

 private:
  const size_t before_;
  std::atomic<size_t> peak_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace thermocline::server::rpc
