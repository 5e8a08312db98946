#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

#include "tests/bench/store.h"
#include "tests/bench/workload.h"

namespace thermocline::bench {

// In basic units; what could not be measured is not a number.
struct ReadFigures {
  double per_second = 0;
  double p50 = 0;  // seconds from the call to the value
  double p99 = 0;
  double p999 = 0;
  double cpu = 0;                  // of one read, by the whole process
  double memory_share = 0;         // reads that needed no disk
  double disk_reads_per_cold = 0;  // of each read that did
};

// Gets `reads` inserted keys that nobody has overwritten, `depth` at the same time; the n-th is key number
// `choose(n)`, called by one thread. DATA_LOSS if one is missing or different, else the store's first error.
// Shows its progress as `what`.
absl::StatusOr<ReadFigures> ReadKeys(Store& store, const Workload& workload, uint64_t reads, int depth,
                                     const std::string& what, absl::FunctionRef<uint64_t(uint64_t)> choose);

// The same, of keys drawn from the first `keys`.
absl::StatusOr<ReadFigures> ReadRandomKeys(Store& store, const Workload& workload, uint64_t keys,
                                           uint64_t reads, int depth, uint64_t seed);

}  // namespace thermocline::bench
