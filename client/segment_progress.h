#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace thermocline {

// How far a query is, and what it took.
struct SegmentProgress {
  uint64_t ids = 0;      // that have come out so far
  uint64_t max_ids = 0;  // no more than so many can come out in all
  uint64_t blocks = 0;   // of the id files that may have to be read
  uint64_t blocks_read = 0;
  uint64_t blocks_passed = 0;  // that the query went past without reading them
  uint64_t bytes_read = 0;
  std::chrono::milliseconds elapsed{0};  // on the server
  uint64_t memory_bytes = 0;             // the query's share of the server's memory
  bool from_kept_result = false;         // an equal query was answered before, and nothing has changed since
  std::string normalized;                // the expression as the server understands it
};

}  // namespace thermocline
