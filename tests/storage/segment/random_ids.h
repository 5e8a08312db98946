#pragma once

#include <cstdint>
#include <random>
#include <set>
#include <vector>

namespace thermocline::testing {

// Ids of one of the kinds that segments are made of: nothing, one id, the ends of the space, sparse, dense,
// runs, and mixtures.
inline std::set<uint64_t> RandomIds(std::mt19937_64& random, size_t size) {
  std::set<uint64_t> ids;
  const auto below = [&](uint64_t bound) { return random() % bound; };
  const uint64_t kind = below(8);
  if (kind == 0) return ids;
  if (kind == 1) return {below(2) == 0 ? random() : below(100)};
  if (kind == 2 || kind == 7) ids.insert({0, UINT64_MAX, UINT64_MAX - 1});
  if (kind == 3 || kind == 7) {
    for (size_t i = 0; i < size; ++i) ids.insert(random());
  }
  if (kind == 4 || kind == 7) {
    const uint64_t base = below(2) == 0 ? 0 : UINT64_MAX - 4 * size;
    for (size_t i = 0; i < size; ++i) ids.insert(base + below(3 * size));
  }
  if (kind == 5 || kind == 7) {
    for (uint64_t id = below(1000); ids.size() < size; id += below(3000)) {
      for (const uint64_t end = id + below(2000); id < end && ids.size() < size; ++id) ids.insert(id);
    }
  }
  if (kind == 6) {
    for (size_t i = 0; i < size; ++i) ids.insert(below(100 * size));
  }
  return ids;
}

}  // namespace thermocline::testing
