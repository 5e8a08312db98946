#pragma once

#include <array>
#include <cstdint>
#include <limits>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

#include "tests/bench/bench_flags.h"
#include "tests/bench/inserts.h"
#include "tests/bench/mixed_traffic.h"
#include "tests/bench/store.h"

namespace thermocline::bench {

struct MixedOptions {
  double ratio = 1;  // bytes of keys and values to those of memory
  Popularity popularity;
  double seconds = 60;
  uint64_t operations = 0;  // 0: as many as there is time for; else the time does not count
  double warm_up = 0.5;     // as long as this share of the measurement, before it
  int depth = 64;
  Workload::Shape shape;
  InsertOptions inserts;
};

// What one second, or the whole measurement, has shown, in basic units: bytes, seconds. What could not be
// measured is not a number.
struct MixedRow {
  double ratio = 0;
  double second = std::numeric_limits<double>::quiet_NaN();  // at whose end; not a number: all of them
  double operations_per_second = 0;
  double cpu = 0;           // of one operation
  double memory_share = 0;  // gets that needed no disk
  double lru_share = 0;     // gets of the same sequence that LruModel would have served
  double hit_ratio = 0;     // the former to the latter
  double get_p50 = 0;
  double get_p99 = 0;
  double get_p999 = 0;
  double longest_get = 0;
  double set_p99 = 0;
  double longest_set = 0;
  double write_amplification = 0;  // bytes written to those set, since the measurement began
  double disk_bytes = 0;
  double disk_per_live = 0;              // disk_bytes to those of the keys and values that live
  std::array<double, kShares> memory{};  // by Share
};

// Loads a store, warms it up, measures, closes it, and works out how an ideal cache would have done. Yields a
// row for each second, and a last one for all. DATA_LOSS if a read is wrong, else the store's errors.
absl::Status RunMixed(const Contestant& contestant, const StoreOptions& store_options,
                      const MixedOptions& options, absl::FunctionRef<void(const MixedRow&)> yield);

}  // namespace thermocline::bench
