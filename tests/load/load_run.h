#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "tests/bench/latency_histogram.h"
#include "tests/load/driver.h"
#include "tests/load/mix.h"
#include "tests/load/segment_mix.h"
#include "tests/load/segment_result.h"

namespace thermocline::load {

// What a run is told.
struct LoadOptions {
  NamedMix workload;
  std::string via = "wire";
  std::string host = "127.0.0.1";
  uint16_t port = 7070;
  uint64_t keys = 1'000'000;
  uint32_t batch = 1;
  bool sync = true;
  uint32_t connections = 16;
  uint32_t threads = 1;     // at most as many as connections
  uint32_t in_flight = 16;  // calls of each connection
  double rate = 0;          // operations a second; 0: closed loop
  double seconds = 10;
  double warm_up = 2;       // seconds
  uint64_t operations = 0;  // instead of seconds, if not 0
  bool load = true;
  uint64_t seed = 1;
  pid_t server_pid = 0;  // 0: whoever listens on the port, if that is on this machine
  SegmentOptions segments;
};

// A short part of a run.
struct Window {
  double at = 0;  // seconds from the start to its end
  double operations_per_second = 0;
  double p50 = 0;  // seconds, of the calls that were answered in it; not a number if none was
  double p99 = 0;
  double longest = 0;
  uint64_t errors = 0;
};

// What came of it.
struct LoadResult {
  double seconds = 0;
  uint64_t operations = 0;
  uint64_t errors = 0;
  uint64_t wrong = 0;
  uint64_t missing = 0;
  std::string first_fault;
  bench::LatencyHistogram::Counts latencies;
  std::vector<Window> windows;
  double client_cpu_seconds = 0;
  std::optional<double> server_cpu_seconds;  // of a local server
  std::optional<uint64_t> server_resident_bytes;
  SegmentResult segments;  // what was done beside it

  double operations_per_second() const { return static_cast<double>(operations) / seconds; }
};

class SegmentLoad;

// Connections to a server, and what is done over them.
class LoadRun {
 public:
  // Hears of the progress of a phase, ten times a second.
  using Watcher = std::function<void(const LoadResult& so_far)>;

  // UNAVAILABLE if the server is not there, INVALID_ARGUMENT for what its protocol cannot do.
  static absl::StatusOr<std::unique_ptr<LoadRun>> Connect(const LoadOptions& options);
  ~LoadRun();

  // Whether a sample of the keys is there, with values of the right size.
  absl::StatusOr<bool> IsLoaded();
  // Writes all keys.
  absl::StatusOr<LoadResult> Load(const Watcher& watcher);
  // The workload: first for the warm-up, unwatched, then measured. After an error, what was measured until
  // then is in `result`. `beside` runs all the while, if there is one.
  absl::Status Measure(const Watcher& watcher, LoadResult& result, SegmentLoad* beside = nullptr);

 private:
  explicit LoadRun(const LoadOptions& options);

  absl::Status RunPhase(TrafficPlan& plan, const Watcher& watcher, LoadResult& result);

  const LoadOptions options_;
  const Records records_;
  const KeyChoice choice_;
  KeySpace space_;
  std::vector<std::unique_ptr<Driver>> drivers_;  // one for each thread
  std::vector<uint32_t> tickets_;                 // of each
  std::optional<pid_t> server_;
  uint64_t phases_ = 0;  // so far
};

}  // namespace thermocline::load
