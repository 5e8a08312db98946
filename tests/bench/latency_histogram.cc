#include "tests/bench/latency_histogram.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace thermocline::bench {

size_t LatencyHistogram::BucketOf(uint64_t nanoseconds) {
  const int shift = std::max(0, static_cast<int>(std::bit_width(nanoseconds)) - kLinearBits - 1);
  return (static_cast<size_t>(shift) << kLinearBits) + static_cast<size_t>(nanoseconds >> shift);
}

uint64_t LatencyHistogram::MiddleOf(size_t bucket) {
  const size_t shift = bucket < (2u << kLinearBits) ? 0 : (bucket >> kLinearBits) - 1;
  const uint64_t low = static_cast<uint64_t>(bucket - (shift << kLinearBits)) << shift;
  return low + (uint64_t{1} << shift) / 2;
}

void LatencyHistogram::Add(std::chrono::nanoseconds duration) {
  const auto nanoseconds = static_cast<uint64_t>(std::max<int64_t>(0, duration.count()));
  buckets_[BucketOf(nanoseconds)].fetch_add(1, std::memory_order_relaxed);
}

LatencyHistogram::Counts LatencyHistogram::Take() const {
  Counts counts;
  counts.buckets_.reserve(kBuckets);
  for (const auto& bucket : buckets_) counts.buckets_.push_back(bucket.load(std::memory_order_relaxed));
  return counts;
}

uint64_t LatencyHistogram::Counts::total() const {
  return std::accumulate(buckets_.begin(), buckets_.end(), uint64_t{0});
}

std::chrono::nanoseconds LatencyHistogram::Counts::Quantile(double quantile) const {
  const uint64_t all = total();
  if (all == 0) return {};
  const auto rank =
      std::clamp<uint64_t>(static_cast<uint64_t>(std::ceil(quantile * static_cast<double>(all))), 1, all);
  uint64_t seen = 0;
  size_t bucket = 0;
  while ((seen += buckets_[bucket]) < rank) ++bucket;
  return std::chrono::nanoseconds(MiddleOf(bucket));
}

LatencyHistogram::Counts LatencyHistogram::Counts::operator-(const Counts& earlier) const {
  Counts between = *this;
  for (size_t i = 0; i < earlier.buckets_.size(); ++i) between.buckets_[i] -= earlier.buckets_[i];
  return between;
}

LatencyHistogram::Counts LatencyHistogram::Counts::operator+(const Counts& other) const {
  Counts both = *this;
  both.buckets_.resize(std::max(buckets_.size(), other.buckets_.size()));
  for (size_t i = 0; i < other.buckets_.size(); ++i) both.buckets_[i] += other.buckets_[i];
  return both;
}

}  // namespace thermocline::bench
