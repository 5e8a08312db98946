#include "tests/server/rpc/heap_bytes.h"

#include <algorithm>
#include <chrono>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// Of the sanitizers' runtime; not every compiler comes with its header.
extern "C" size_t __sanitizer_get_current_allocated_bytes();
#else
#include <malloc.h>
#endif

namespace thermocline::server::rpc {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
size_t HeapBytes() { return __sanitizer_get_current_allocated_bytes(); }
#else
size_t HeapBytes() {
  const struct mallinfo2 heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
}
#endif

HeapWatch::HeapWatch()
    : before_(HeapBytes()), thread_([this] {
        while (!stop_) {
          peak_ = std::max(peak_.load(), Growth());
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
      }) {}

HeapWatch::~HeapWatch() {
  stop_ = true;
  thread_.join();
}

size_t HeapWatch::Growth() const {
  const size_t now = HeapBytes();
  return now > before_ ? now - before_ : 0;
}

}  // namespace thermocline::server::rpc
