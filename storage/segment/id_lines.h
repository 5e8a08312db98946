#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace thermocline::storage::segment {

// Writes ids as lines of decimal digits. Cheapest where ids ascend and lie near each other: what they have in
// common is worked out once. For one thread at a time.
class IdLines {
 public:
  // The digits of the largest id, and a line feed.
  static constexpr size_t kMaxLineBytes = 21;
  // What may be written over beyond the lines.
  static constexpr size_t kSlackBytes = 16;

  // Returns the end of the lines. `out` has room for kMaxLineBytes for each id, and kSlackBytes.
  char* Write(std::span<const uint64_t> ids, char* out);

 private:
  static constexpr uint64_t kSpan = 10'000;

  char* WriteFirst(uint64_t id, char* out);

  // Ids from base_ on, up to kSpan of them, begin with the same digits. 0: none do.
  uint64_t base_ = 0;
  char common_[kSlackBytes] = {};
  size_t common_bytes_ = 0;
};

}  // namespace thermocline::storage::segment
