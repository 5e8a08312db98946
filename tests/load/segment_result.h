#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/bench/latency_histogram.h"

namespace thermocline::load {

// What came of one kind of segment calls.
struct SegmentLine {
  std::string name;
  double seconds = 0;
  uint64_t ids = 0;  // added, counted or received by calls that succeeded
  uint64_t errors = 0;
  uint64_t wrong = 0;  // answers
  std::string first_fault;
  bench::LatencyHistogram::Counts latencies;  // of calls that succeeded

  double calls_per_second() const { return static_cast<double>(latencies.total()) / seconds; }
  double ids_per_second() const { return static_cast<double>(ids) / seconds; }
};

using SegmentResult = std::vector<SegmentLine>;

}  // namespace thermocline::load
