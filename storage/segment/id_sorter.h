#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/segment/catalog.h"
#include "storage/segment/id_files.h"
#include "storage/segment/read_context.h"
#include "storage/segment/stream_run.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {

// Sorts `ids` and drops those that are there twice; returns how many are left. `scratch` is as large. Radix
// sort by bytes, those that are the same in all ids passed over.
size_t SortIds(std::span<uint64_t> ids, std::span<uint64_t> scratch);

// Makes a set of ids that come in any order: a list if they are few, else an id file. What does not fit the
// memory is written to the object store in sorted runs, which are merged at the end (external merge sort:
// Knuth, TAOCP vol. 3, 5.4). Ids that come in order are one run from the beginning to the end. For one thread
// at a time, but for Cancel.
class IdSorter : public std::enable_shared_from_this<IdSorter> {
 public:
  // What it takes before it grows.
  static constexpr size_t kFirstIds = 1 << 10;
  // So many ids stay in a list.
  static constexpr size_t kListIds = 16 << 10;
  static constexpr size_t kListBytes = 2 * kListIds * sizeof(uint64_t);
  // The least that it takes to sort more than a list.
  static constexpr size_t kMinBytes = 2 << 20;

  struct Parts {
    std::shared_ptr<const void> inside;  // what keeps the store open: the last to go
    std::shared_ptr<IdFiles> files;
    std::function<absl::StatusOr<uint64_t>()> new_number;
    std::function<std::shared_ptr<ReadContext>()> new_context;
  };

  explicit IdSorter(Parts parts) : parts_(std::move(parts)) {}
  // Runs that are left are removed.
  ~IdSorter();

  // How many more ids fit what it may use.
  size_t room() const { return capacity_ - ids_.size(); }
  // May use `bytes` in all: kListBytes, or kMinBytes and more.
  void Grow(uint64_t bytes);

  // Takes ids, at most room(), which must be followed by Spill when there is no more room. Waits for the
  // store.
  void Add(std::span<const uint64_t> ids);
  absl::Status Spill();

  uint64_t received() const { return received_; }

  // What came out: ids, or a file, whose number the caller takes over.
  struct Sorted {
    std::vector<uint64_t> list;
    FileEntry file;

    uint64_t count() const { return file.number != 0 ? file.count : list.size(); }
  };
  // Calls `done` during the call, or later on the executor.
  using Done = absl::AnyInvocable<void(absl::StatusOr<Sorted>)>;
  void Finish(Done done);
  // Ends what Finish does, soon. Thread-safe.
  void Cancel();

 private:
  void SortList();
  absl::Status WriteList();
  absl::Status CloseRun();
  size_t FanIn() const;
  void MergeSome();

  const Parts parts_;
  uint64_t bytes_ = 2 * kFirstIds * sizeof(uint64_t);
  size_t capacity_ = kFirstIds;
  std::vector<uint64_t> ids_;
  std::vector<uint64_t> scratch_;
  bool in_order_ = true;  // ids_ is ascending, without equal ones
  uint64_t received_ = 0;

  std::unique_ptr<IdFileWriter> run_;
  uint64_t run_number_ = 0;
  uint64_t run_last_ = 0;
  std::vector<FileEntry> runs_;
  Done done_;

  Mutex mutex_;
  std::shared_ptr<StreamRun> merging_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace thermocline::storage::segment
