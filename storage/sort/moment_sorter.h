#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/object_store.h"
#include "storage/sort/block_file.h"
#include "storage/sort/pages.h"

namespace thermocline::storage::sort {

// A number, and how often it is there.
struct Moments {
  int64_t at = 0;
  uint64_t count = 0;
};

// Numbers in order, each once. For one thread at a time.
class MomentStream {
 public:
  virtual ~MomentStream() = default;

  // Sets the next one; false at the end. May wait for the store.
  virtual absl::StatusOr<bool> Next(Moments& next) = 0;
};

// Sorts 64-bit numbers and counts equal ones. What does not fit in memory becomes runs, each a list of
// differences and counts. For one thread at a time.
class MomentSorter {
 public:
  static constexpr uint64_t kMinBytes = 2 << 20;

  // Objects are called `prefix` and a number. `store` must outlive it.
  MomentSorter(ObjectStore& store, std::string prefix, uint64_t memory_bytes);
  // Its runs go with it.
  ~MomentSorter();

  absl::Status Add(int64_t moment) {
    if (count_ == capacity_) {
      if (absl::Status status = Spill(); !status.ok()) return status;
    }
    // Their order as numbers without a sign.
    numbers()[count_++] = static_cast<uint64_t>(moment) ^ kSign;
    return absl::OkStatus();
  }

  // Nothing may be added any more. The sorter must outlive the stream.
  absl::StatusOr<std::unique_ptr<MomentStream>> Finish();

 private:
  static constexpr uint64_t kSign = uint64_t{1} << 63;

  uint64_t* numbers() const { return reinterpret_cast<uint64_t*>(memory_.data()); }
  void SortNumbers();
  absl::Status Spill();
  absl::Status MergeRuns();
  absl::Status WriteRun(MomentStream& stream);
  absl::StatusOr<std::unique_ptr<MomentStream>> OpenRuns();
  void RemoveRuns();

  ObjectStore& store_;
  const std::string prefix_;
  const uint64_t memory_bytes_;
  const size_t capacity_;
  const size_t max_runs_;  // that are merged at once
  Pages memory_;           // as many numbers again as there may be, to sort them
  size_t count_ = 0;
  uint64_t next_name_ = 0;
  std::vector<std::unique_ptr<BlockFile>> runs_;
};

}  // namespace thermocline::storage::sort
