#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "tests/bench/workload.h"
#include "tests/bench/zipfian.h"

namespace thermocline::load {

// Which numbers have been inserted. Thread-safe.
class KeySpace {
 public:
  // Numbers below `inserted` are there already.
  explicit KeySpace(uint64_t inserted) : next_(inserted), readable_(inserted) {}

  // A number to insert, which nobody else gets.
  uint64_t Begin() { return next_.fetch_add(1, std::memory_order_relaxed); }
  // Its insert has been acknowledged, or has failed.
  void End(uint64_t number, bool acknowledged);

  // All numbers below have been acknowledged, except where an insert failed: see complete().
  uint64_t readable() const { return readable_.load(std::memory_order_acquire); }
  // No insert has failed.
  bool complete() const { return !failed_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> next_;
  std::atomic<uint64_t> readable_;  // released by End: who sees a number may read its key
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::deque<bool> ended_;  // of readable_ and the numbers after it
};

// Which keys are popular.
enum class Popularity {
  kUniform,
  kZipfian,  // 0.99, scattered over all keys (YCSB's "scrambled zipfian")
  kLatest,   // zipfian, the newest key first
};
std::optional<Popularity> PopularityOf(std::string_view name);
std::string_view NameOf(Popularity popularity);

// Draws numbers of keys. Immutable, thus thread-safe.
class KeyChoice {
 public:
  // Over `keys` (at least 1) numbers from 0; kLatest: over the `keys` newest.
  KeyChoice(Popularity popularity, uint64_t keys, uint64_t seed);

  // `readable` (at least `keys`) is used by kLatest only.
  uint64_t Draw(bench::RandomStream& random, uint64_t readable) const;

 private:
  const Popularity popularity_;
  const uint64_t keys_;
  const bench::Zipfian zipfian_;
  const bench::Permutation scatter_;
};

}  // namespace thermocline::load
