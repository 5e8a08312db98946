#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/service/jobs.h"
#include "server/service/segment_change.h"
#include "server/service/segment_query.h"
#include "server/service/segment_timeline.h"
#include "server/service/segment_values.h"
#include "storage/engine.h"
#include "storage/executor.h"
#include "storage/segments.h"
#include "thermocline/v1/segments.pb.h"

namespace thermocline::server {

// The methods of segments.proto (which says what they mean), whatever brings the messages. Thread-safe.
class SegmentsService {
 public:
  // `segments` may be nullptr, and then `jobs` and `timelines` are too: every method answers UNAVAILABLE and
  // says how to have some. `executor` is for short work that may wait for the disk. What is not nullptr must
  // outlive the service and every operation.
  SegmentsService(storage::Segments* segments, Jobs* jobs, SegmentTimelines* timelines,
                  storage::Engine& engine, storage::Executor& executor)
      : segments_(segments), jobs_(jobs), timelines_(timelines), engine_(engine), executor_(executor) {}

  // Calls with a stream. They do not refer to `request` or to this service.
  absl::StatusOr<std::unique_ptr<SegmentChanger>> Change(storage::SegmentChange change);
  absl::StatusOr<SegmentReader> Query(const v1::QueryRequest& request);
  absl::StatusOr<SegmentValuesReader> QueryValues(const v1::QueryValuesRequest& request);
  absl::StatusOr<SegmentTimelineReader> Timeline(const v1::TimelineRequest& request);
  absl::StatusOr<JobWatcher> WatchJob(const v1::WatchJobRequest& request);

  // These call `done` exactly once, during the call or later, perhaps minutes, on a thread of the segments.
  // `request` need not live so long.
  // Destroying what they return ends the work, and `done` may then not be called; nullptr: nothing does.
  template <typename Response>
  using AnswerDone = absl::AnyInvocable<void(absl::StatusOr<Response>)>;
  using Work = std::shared_ptr<void>;
  Work Explain(const v1::ExplainRequest& request, AnswerDone<v1::ExplainResponse> done);
  Work Store(const v1::StoreRequest& request, AnswerDone<v1::StoreResponse> done);
  Work Count(const v1::CountRequest& request, AnswerDone<v1::CountResponse> done);
  // Only begins the work.
  void Export(const v1::ExportRequest& request, AnswerDone<v1::Job> done);

  // These call `done` exactly once, during the call or later on the executor. Until then, request and
  // response must live; the response is empty at first, and means something only if the status is OK.
  using Done = absl::AnyInvocable<void(absl::Status)>;
  void List(const v1::ListRequest& request, v1::ListResponse* response, Done done);
  void Describe(const v1::DescribeRequest& request, v1::Segment* response, Done done);
  void Drop(const v1::DropRequest& request, v1::DropResponse* response, Done done);
  void ListJobs(const v1::ListJobsRequest& request, v1::ListJobsResponse* response, Done done);
  void CancelJob(const v1::CancelJobRequest& request, v1::Job* response, Done done);

 private:
  // OK if there are segments.
  absl::Status CheckServed() const;

  storage::Segments* const segments_;
  Jobs* const jobs_;
  SegmentTimelines* const timelines_;
  storage::Engine& engine_;
  storage::Executor& executor_;
};

}  // namespace thermocline::server
