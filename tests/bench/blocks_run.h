#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

#include "tests/bench/inserts.h"
#include "tests/bench/store.h"

namespace thermocline::bench {

struct BlocksOptions {
  uint64_t keys = 300'000'000;
  uint64_t batch = 10'000'000;
  uint64_t reads = 1'000'000;  // after each batch
  int depth = 64;
  Workload::Shape shape;
  InsertOptions inserts;
};

// What one batch has shown, in basic units: bytes, seconds. What could not be measured is not a number.
struct BlocksRow {
  double keys = 0;  // inserted so far
  double distinct_keys = 0;

  double inserts_per_second = 0;
  double slowest_window = 0;  // inserts in the slowest second
  double window_ratio = 0;    // the slowest to the median second
  double longest_pause = 0;
  double slowest_acknowledgement = 0;
  double insert_cpu = 0;  // of one insert

  double reads_per_second = 0;
  double read_p50 = 0;
  double read_p99 = 0;
  double read_p999 = 0;
  double read_cpu = 0;             // of one read
  double memory_share = 0;         // reads that needed no disk
  double disk_reads_per_cold = 0;  // of each read that did

  std::array<double, kShares> memory{};  // by Share
  double other_memory = 0;               // resident, and in no share
  double index_bytes_per_key = 0;
  double resident_bytes = 0;
  double peak_resident_bytes = 0;
  double disk_bytes = 0;
  double disk_per_live = 0;        // disk_bytes to the bytes of the keys and values that live
  double write_amplification = 0;  // bytes written to those of the keys and values inserted, so far
};

// Inserts batches and reads random earlier keys after each, verifying every value: DATA_LOSS if one is
// missing or different, else the store's errors. `directory` is the store's.
absl::Status RunBlocks(Store& store, const std::string& directory, const BlocksOptions& options,
                       absl::FunctionRef<void(const BlocksRow&)> yield);

}  // namespace thermocline::bench
