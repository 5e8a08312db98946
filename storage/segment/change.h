#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/segment/completions.h"
#include "storage/segment/core.h"
#include "storage/segment/id_sorter.h"
#include "storage/segment/rewriter.h"
#include "storage/segment/stream_run.h"
#include "storage/segments.h"

namespace thermocline::storage {

// Sorts what comes, and then, under the lock of the name, makes a layer of it.
class SegmentWrite::Impl : public std::enable_shared_from_this<Impl> {
 public:
  Impl(std::shared_ptr<segment::Core> core, segment::Rewriter& rewriter,
       std::shared_ptr<segment::Core::Reading> inside, std::string name, SegmentChange change,
       const SegmentWriteOptions& options);
  ~Impl();

  void Add(std::span<const uint64_t> ids, absl::AnyInvocable<void(absl::Status)> done);
  void Finish(absl::AnyInvocable<void(absl::StatusOr<SegmentWriteResult>)> done);
  // No completion comes any more when this has returned, unless it is called by one. What is already being
  // published may happen.
  void Cancel();

 private:
  using Sorted = segment::IdSorter::Sorted;
  using AddDone = absl::AnyInvocable<void(absl::Status)>;

  void AddMore(std::span<const uint64_t> ids, AddDone done);
  void GrowAndAdd(std::span<const uint64_t> ids, AddDone done);
  void TakeSorted(absl::StatusOr<Sorted> result);
  void CountChanged();
  void CountMembers(segment::MemoryLine::Grant memory);
  void CountedChanged(uint64_t members);
  void Publish();
  absl::Status MakeChange(segment::SegmentEntry& entry, segment::Catalog::Batch& batch,
                          std::vector<uint64_t>& removed_files);
  absl::Status MakeLayer(segment::SegmentEntry& entry, segment::Catalog::Batch& batch);
  void Release(absl::StatusOr<SegmentWriteResult> result);

  const std::shared_ptr<segment::Core> core_;
  const std::shared_ptr<segment::Core::Reading> inside_;  // has the memory; goes after what uses it
  segment::Rewriter& rewriter_;
  const std::string name_;
  const SegmentChange change_;
  const SegmentWriteOptions options_;
  const std::shared_ptr<segment::IdSorter> sorter_;
  uint64_t granted_ = 0;
  const std::shared_ptr<segment::Work> work_;
  std::shared_ptr<const void> listed_;

  Sorted sorted_;
  bool owns_file_ = false;  // it is of no segment yet
  std::optional<segment::SegmentEntry> before_;
  SegmentWriteResult result_;
  absl::AnyInvocable<void(absl::StatusOr<SegmentWriteResult>)> done_;

  segment::Completions completions_;
};

}  // namespace thermocline::storage
