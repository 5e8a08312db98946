#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "tests/bench/latency_histogram.h"
#include "tests/bench/store.h"
#include "tests/bench/workload.h"
#include "tests/bench/zipfian.h"

namespace thermocline::bench {

// Which keys are used how often, and what for.
struct Popularity {
  bool uniform = false;
  double theta = 0.99;  // of the Zipfian distribution
  double read_share = 0.9;
  uint64_t seed = 1;
};

// An endless sequence of reads and overwrites, the same for the same popularity. Ranks are scattered over all
// keys. Not thread-safe.
class OperationSequence {
 public:
  struct Step {
    uint64_t key = 0;  // the index of the key
    bool is_set = false;
  };

  OperationSequence(const Popularity& popularity, uint64_t keys);

  Step Next();

 private:
  const Popularity popularity_;
  const uint64_t keys_;
  const Zipfian zipfian_;
  const Permutation scatter_;
  RandomStream random_;
};

// Runs a sequence against a store: counts, times and verifies. Thread-safe.
class MixedTraffic : public OperationSource {
 public:
  struct Limit {
    uint64_t operations = 0;
    std::chrono::steady_clock::time_point deadline;
  };

  MixedTraffic(const Workload& workload, const Popularity& popularity, uint64_t keys);

  // Goes on with the sequence up to this many more operations, or until this moment.
  void Extend(const Limit& limit);

  bool Next(Operation& operation, std::string& value) override;
  void Done(const Operation& operation,
            const absl::StatusOr<std::optional<std::string_view>>& value) override;

  // The first thing that went wrong.
  absl::Status status() const;
  // How far the sequence is.
  const std::atomic<uint64_t>& begun() const { return begun_; }
  uint64_t set_bytes() const { return set_bytes_.load(std::memory_order_relaxed); }
  const LatencyHistogram& gets() const { return gets_; }
  const LatencyHistogram& sets() const { return sets_; }

 private:
  const Workload& workload_;
  mutable std::mutex mutex_;
  OperationSequence sequence_;  // under mutex_, as the two below
  Limit limit_;
  absl::Status status_;
  std::atomic<uint64_t> begun_{0};
  std::atomic<uint64_t> set_bytes_{0};
  LatencyHistogram gets_;
  LatencyHistogram sets_;
};

}  // namespace thermocline::bench
