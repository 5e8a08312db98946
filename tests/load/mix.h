#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "tests/load/key_space.h"

namespace thermocline::load {

// What a workload does: the share of each kind of operation, and which keys it takes. Shares sum up to 1.
struct Mix {
  double reads = 0;
  double updates = 0;  // of existing keys
  double inserts = 0;  // of new keys
  double read_modify_writes = 0;
  double range_reads = 0;  // one batch of up to kMaxRange keys with consecutive numbers
  double deletes = 0;      // of keys which may be written again: reads may find nothing

  static constexpr uint32_t kMaxRange = 100;

  Popularity popularity = Popularity::kZipfian;
  uint32_t min_value_bytes = 100;
  uint32_t max_value_bytes = 100;
  bool random_keys = false;
  bool starts_empty = false;  // it reads nothing that it has not written itself: no keys are loaded
};

struct NamedMix {
  std::string name;
  std::string summary;  // one line
  Mix mix;
};

// All workloads but "mixed:<percent>".
const std::vector<NamedMix>& KnownMixes();

// A workload by its name: one of KnownMixes() or "mixed:<percent of reads>". INVALID_ARGUMENT lists them.
absl::StatusOr<NamedMix> FindMix(std::string_view name);

}  // namespace thermocline::load
