#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace thermocline::bench {

// Counts durations in buckets that are linear within each power of two of nanoseconds, 64 a power: every
// answer is right to 1/64. Thread-safe.
class LatencyHistogram {
 public:
  // What had been counted at one moment. Two of them subtract to what was counted in between; those of two
  // histograms add up.
  class Counts {
   public:
    uint64_t total() const;
    // The duration below which a share of `quantile` (0 .. 1) lies; 0 is the shortest, 1 the longest. Zero
    // if nothing was counted.
    std::chrono::nanoseconds Quantile(double quantile) const;
    Counts operator-(const Counts& earlier) const;
    Counts operator+(const Counts& other) const;

   private:
    friend class LatencyHistogram;
    std::vector<uint64_t> buckets_;
  };

  // Negative durations count as zero.
  void Add(std::chrono::nanoseconds duration);
  Counts Take() const;

 private:
  static constexpr int kLinearBits = 6;
  static constexpr size_t kBuckets = (64 - kLinearBits + 1) << kLinearBits;

  static size_t BucketOf(uint64_t nanoseconds);
  static uint64_t MiddleOf(size_t bucket);

  std::array<std::atomic<uint64_t>, kBuckets> buckets_{};
};

}  // namespace thermocline::bench
