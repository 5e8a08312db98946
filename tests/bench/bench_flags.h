#pragma once

#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"

#include "tests/bench/inserts.h"
#include "tests/bench/number_flags.h"
#include "tests/bench/store.h"
#include "tests/bench/workload.h"

namespace thermocline::bench {

// What the benches are told.
struct BenchFlags {
  std::string engine = "thermocline";  // or "rocksdb" or "both"
  std::string directory;
  bool keep = false;
  uint64_t memory_bytes = 0;
  int depth = 64;
  bool io_uring = true;
  int read_threads = 64;
  Workload::Shape shape;
  InsertOptions inserts;
  std::string csv;
  std::string svg;
};

// Adds a flag for each of them, but for those of AddContestFlags; what `flags` holds are the defaults.
void AddBenchFlags(CLI::App& app, BenchFlags& flags);
// Of a bench that compares engines and draws curves: --engine and --svg.
void AddContestFlags(CLI::App& app, BenchFlags& flags);

// An engine that takes part.
struct Contestant {
  std::string name;
  absl::StatusOr<std::unique_ptr<Store>> (*open)(const StoreOptions&);
};
// Those that BenchFlags::engine names.
std::vector<Contestant> ContestantsOf(const std::string& engine);

}  // namespace thermocline::bench
