#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace thermocline::bench {

// Which accesses a cache would serve that holds the records used last, has no overhead, and never holds more
// than its capacity: the measure for a real one. Takes about 50 bytes for each record it holds. Not
// thread-safe.
class LruModel {
 public:
  explicit LruModel(uint64_t capacity_bytes) : capacity_(capacity_bytes) {}

  // Makes `key`, whose record has `bytes`, the one used last. Returns true if it was held. A key keeps its
  // bytes.
  bool Touch(uint64_t key, uint32_t bytes);
  void SetCapacity(uint64_t bytes);

  uint64_t bytes() const { return bytes_; }

 private:
  // The newest and the oldest are neighbours: node 0, which is nobody's, stands between them.
  struct Node {
    uint64_t key = 0;
    uint32_t bytes = 0;
    uint32_t newer = 0;
    uint32_t older = 0;
  };

  void Unlink(uint32_t node);
  void LinkNewest(uint32_t node);
  void EvictTo(uint64_t bytes);

  uint64_t capacity_;
  uint64_t bytes_ = 0;
  std::vector<Node> nodes_{1};
  std::vector<uint32_t> free_;
  absl::flat_hash_map<uint64_t, uint32_t> held_;
};

}  // namespace thermocline::bench
