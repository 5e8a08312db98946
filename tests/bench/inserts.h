#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

#include "tests/bench/store.h"
#include "tests/bench/workload.h"

namespace thermocline::bench {

struct InsertOptions {
  int writers = 1;
  uint64_t group = 10'000;   // records that become durable together
  int groups_in_flight = 8;  // of each writer: that many may wait for the disk before it waits
};

struct InsertFigures {
  double seconds = 0;  // until the last group was acknowledged
  // Records a second, over all windows of one second that begin at a tenth of a second; not a number if it
  // took less than a second.
  double slowest_window = 0;
  double median_window = 0;
  double longest_pause = 0;            // seconds of one call
  double slowest_acknowledgement = 0;  // seconds from the end of a group until it was on the disk
  uint64_t record_bytes = 0;           // keys and values
};

// Inserts keys number `first` .. `first + count - 1` of the workload. Returns the store's first error. Shows
// its progress.
absl::StatusOr<InsertFigures> InsertKeys(Store& store, const Workload& workload, uint64_t first,
                                         uint64_t count, const InsertOptions& options);

}  // namespace thermocline::bench
