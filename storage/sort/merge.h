#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/sort/sort_key.h"

namespace thermocline::storage::sort {

struct SortedRecord {
  KeyPrefix prefix;
  std::string_view key;
  std::string_view text;  // with its line break
};

// Records in their order. For one thread at a time.
class SortedRecords {
 public:
  virtual ~SortedRecords() = default;

  // Sets the next one, which is valid until the next call; false at the end. May wait for the store.
  virtual absl::StatusOr<bool> Next(SortedRecord& record) = 0;
};

// Takes records in their order. For one thread at a time.
class RecordSink {
 public:
  virtual ~RecordSink() = default;

  virtual absl::Status Add(const SortedRecord& record) = 0;
};

// Merges sources to the sink: of equal keys those of earlier sources first, and of each source in its order.
// With `unique` only the first of equal keys; returns how many were dropped. `goes_on` is asked now and then:
// false ends it with CANCELLED. (A tree of losers: Knuth, TAOCP vol. 3, 5.4.1.)
struct MergeOrder {
  bool descending = false;
  bool unique = false;
};
absl::StatusOr<uint64_t> Merge(std::vector<std::unique_ptr<SortedRecords>> sources, const MergeOrder& order,
                               RecordSink& sink, absl::FunctionRef<bool()> goes_on);

}  // namespace thermocline::storage::sort
