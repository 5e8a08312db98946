#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

#include "storage/log/format.h"

namespace thermocline::storage {

// What an index wants to know of a record of the log. It views nothing.
struct LoggedRecord {
  uint64_t hash = 0;  // of its key; of a grave, of the dead record's key
  Position position = 0;
  Position displaced = 0;
  uint32_t bytes = 0;  // encoded
  bool tombstone = false;
  bool unresolved = false;
  bool grave = false;
};
static_assert(sizeof(LoggedRecord) == 32);

// Who is told of the records of a log. Records of hashes with one prefix come in the order of the log, block
// by block; those of different prefixes may come at the same time. It does not own what it calls.
struct LogVisitor {
  // Thread-safe.
  absl::FunctionRef<uint64_t(std::string_view key)> hash_of;
  int prefix_bits = 0;  // leading bits of a hash: 0 .. 16
  // From now on, records of this block are visited. Nothing else is called meanwhile.
  absl::FunctionRef<void(uint64_t sequence)> begin_block;
  // Some records with one prefix, at least one. Several threads call it at once, which `worker` tells apart:
  // it is below the number of threads. An error ends the visits, soon.
  absl::FunctionRef<absl::Status(size_t worker, std::span<const LoggedRecord>)> visit;
};

}  // namespace thermocline::storage
