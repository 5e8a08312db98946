#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "storage/segment/completions.h"
#include "storage/segment/core.h"
#include "storage/segment/export_encoder.h"
#include "storage/segment/memory_line.h"
#include "storage/segments.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

namespace segment {

// How fast something grows, over the last seconds. For one thread at a time.
class Pace {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit Pace(Time now) { marks_.fill({now, 0}); }

  void Note(Time now, uint64_t count);
  uint64_t PerSecond(Time now, uint64_t count) const;

 private:
  struct Mark {
    Time at;
    uint64_t count = 0;
  };
  std::array<Mark, 5> marks_;  // a second apart, or more; a ring
  size_t oldest_ = 0;
};

}  // namespace segment

// Begins the object, plans, waits for memory, and then two hands work at once: the query computes a page on
// the executor while the page before is written on `outside`. What has to do with the store happens
// there only: a task of it is under way (`writing_`), or the export waits for something else.
class SegmentExport::Impl : public std::enable_shared_from_this<Impl> {
 public:
  // `segments` must outlive it until Abandon.
  Impl(std::shared_ptr<segment::Core> core, Segments& segments, std::string_view expression,
       const SegmentExportOptions& options, Segments::CreateObject create, Segments::ExportDone done);

  void Begin();
  void Cancel();
  // Cancels; no completion comes any more when this has returned, unless it is called by one.
  void Abandon();

  SegmentExportProgress progress() const;

 private:
  using Clock = std::chrono::steady_clock;
  using Stage = SegmentExportProgress::Stage;

  void Open();
  void Plan();
  void AwaitMemory(uint64_t bytes);
  void Ask();
  void Fetch();
  void Fetched(const absl::Status& status);
  void Write();
  void Finish();
  absl::Status WriteObjects();
  void End();
  // It fails, unless it has done so before or is being finished.
  void Stop(absl::Status why);
  // The next page lies ready: hands it to the writer. True: another should be fetched.
  bool TurnPage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<segment::Core> core_;
  Segments& segments_;
  const std::string expression_;
  const SegmentExportOptions options_;

  // For the task of exports that is under way.
  Segments::CreateObject create_;
  Segments::ExportDone done_;
  std::unique_ptr<segment::ExportEncoder> encoder_;
  IdPage page_;
  SegmentExportResult result_;
  // For the query, while it computes; else guarded by mutex_.
  IdPage fetched_;

  const Cancellation cancellation_ = Cancellation::New();
  mutable Mutex mutex_;
  Stage stage_ ABSL_GUARDED_BY(mutex_) = Stage::kPlanning;
  absl::Status verdict_ ABSL_GUARDED_BY(mutex_);  // why it ends, if not well
  bool writing_ ABSL_GUARDED_BY(mutex_) = true;   // a task of exports is queued or runs
  bool fetched_ready_ ABSL_GUARDED_BY(mutex_) = false;
  segment::MemoryLine::Grant memory_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<SegmentQuery> query_ ABSL_GUARDED_BY(mutex_);
  std::string normalized_ ABSL_GUARDED_BY(mutex_);
  SegmentQueryProgress query_progress_ ABSL_GUARDED_BY(mutex_);  // when it is no more
  uint64_t ids_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  Clock::time_point writing_since_ ABSL_GUARDED_BY(mutex_);
  Clock::time_point ended_at_ ABSL_GUARDED_BY(mutex_);
  segment::Pace pace_ ABSL_GUARDED_BY(mutex_);

  segment::Completions completions_;
};

}  // namespace thermocline::storage
