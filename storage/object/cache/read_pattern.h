#pragma once

#include <array>
#include <cstdint>

#include "absl/base/thread_annotations.h"

#include "storage/thread_annotations.h"

namespace thermocline::storage::object_cache {

// Sees who reads one chunk of an object after the other: up to four such readers at a time. Thread-safe.
class ReadPattern {
 public:
  // An object of so many chunks; it advises to read at most `most_ahead` ahead of a reader.
  ReadPattern(uint32_t chunks, uint32_t most_ahead) : chunks_(chunks), most_ahead_(most_ahead) {}

  struct Advice {
    uint32_t counted_from;  // what is before it was read a moment ago
    // To be brought in ahead of the reader, if any.
    uint32_t ahead = 0;
    uint32_t ahead_end = 0;
  };
  // Chunks first .. last are being read.
  Advice Note(uint32_t first, uint32_t last);

 private:
  struct Reader {
    uint32_t last = UINT32_MAX - 1;  // chunk; this one is read by nobody
    uint32_t run = 0;                // how often the next chunk followed
    uint32_t ahead_end = 0;          // chunks before it are on their way
    uint64_t used = 0;
  };

  Reader& Find(uint32_t first) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const uint32_t chunks_;
  const uint32_t most_ahead_;
  Mutex mutex_;
  std::array<Reader, 4> readers_ ABSL_GUARDED_BY(mutex_);
  uint64_t clock_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace thermocline::storage::object_cache
