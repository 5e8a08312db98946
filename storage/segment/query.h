#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/segment/completions.h"
#include "storage/segment/core.h"
#include "storage/segment/id_stream.h"
#include "storage/segment/stream_run.h"
#include "storage/segment/work_list.h"
#include "storage/segments.h"

namespace thermocline::storage {

// A stream, its pages, and the result that is kept when it has ended.
class SegmentQuery::Impl : public std::enable_shared_from_this<Impl> {
 public:
  // What becomes of a result.
  struct Keeping {
    segment::ResultEntry entry;   // its key and segments
    uint64_t max_file_bytes = 0;  // 0: only a count is kept
  };

  struct Parts {
    std::shared_ptr<segment::Core> core;
    std::shared_ptr<segment::Core::Reading> reading;
    std::shared_ptr<segment::Work> work;
    std::unique_ptr<segment::IdStream> stream;
    std::string normalized;
    SegmentQueryOptions options;
    std::optional<uint64_t> known_count;  // of the whole result
    std::optional<Keeping> keeping;
  };

  explicit Impl(Parts parts);
  ~Impl() { DropKeeper(); }
  static std::unique_ptr<SegmentQuery> Make(Parts parts);

  void Next(size_t target, bool bitmaps, IdPage* page, absl::AnyInvocable<void(absl::Status)> done);
  void Count(absl::AnyInvocable<void(absl::StatusOr<uint64_t>)> done);
  // No completion comes any more when this has returned, unless it is called by one.
  void Cancel();

  SegmentQueryProgress progress() const { return work_->Progress(); }
  const std::string& normalized() const { return normalized_; }

 private:
  using Verdict = segment::StreamRun::Verdict;
  using Part = segment::Part;

  absl::StatusOr<Verdict> TakePart(const Part& part);
  Verdict TakeNow(const Part& part);
  absl::StatusOr<Verdict> CountPart(const Part& part);
  bool GoesAsBitmap(const Part& part) const;
  // All ids of the part are of interest.
  bool IsWhole(const Part& part) const;
  void ListPart(const Part& part);
  void TakeIds(std::span<const uint64_t> ids);
  void TakeBitmap(const Part& part);
  uint64_t left() const { return options_.limit == 0 ? UINT64_MAX : options_.limit - ids_; }
  absl::Status KeepPart(const Part& part);
  void KeepResult();
  void DropKeeper();

  const std::shared_ptr<segment::Core> core_;
  const std::shared_ptr<segment::Work> work_;
  const std::string normalized_;
  const SegmentQueryOptions options_;
  const std::optional<uint64_t> known_count_;
  std::optional<Keeping> keeping_;
  const std::shared_ptr<segment::StreamRun> run_;

  // Of the page that is being made; for the thread that makes it.
  IdPage page_;
  size_t page_ids_ = 0;
  size_t target_ = 0;
  bool bitmaps_ = false;
  uint64_t ids_ = 0;
  bool ended_ = false;
  absl::Status failure_;      // is said again
  std::optional<Part> held_;  // for the next page
  std::vector<uint64_t> listed_;
  std::unique_ptr<segment::IdFileWriter> keeper_;
  uint64_t keeper_number_ = 0;

  segment::Completions completions_;
};

}  // namespace thermocline::storage
