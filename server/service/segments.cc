#include "server/service/segments.h"

#include <utility>
#include <vector>

#include "fmt/format.h"

#include "server/service/segment_requests.h"

namespace thermocline::server {
namespace {

constexpr uint32_t kDefaultListed = 1000;
constexpr uint32_t kMaxListed = 10'000;

absl::Status CheckListing(const v1::ListRequest& request) {
  if (request.prefix().size() > storage::kMaxSegmentNameBytes) {
    return absl::InvalidArgumentError(fmt::format("prefix has {} bytes; no segment's name has more than {}",
                                                  request.prefix().size(), storage::kMaxSegmentNameBytes));
  }
  if (request.limit() <= kMaxListed) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("limit is {}; allowed are 1 to {}, or 0 for {}: ask for more with `after`", request.limit(),
                  kMaxListed, kDefaultListed));
}

v1::ExplainResponse ToResponse(const storage::SegmentExplanation& explanation) {
  v1::ExplainResponse response;
  response.set_normalized(explanation.normalized);
  FillPlan(explanation.plan, *response.mutable_plan());
  response.set_memory_bytes(explanation.memory_bytes);
  response.set_kept_result(explanation.kept_result);
  if (!explanation.execution) return response;
  FillProgress(*explanation.execution, *response.mutable_execution());
  response.mutable_execution()->set_normalized(explanation.normalized);
  response.mutable_execution()->set_done(true);
  return response;
}

std::shared_ptr<void> CancelWhenGone(const storage::Cancellation& cancellation) {
  return std::shared_ptr<void>(nullptr, [cancellation](void*) { cancellation.Cancel(); });
}

}  // namespace

absl::Status SegmentsService::CheckServed() const {
  if (segments_ != nullptr) return absl::OkStatus();
  return absl::UnavailableError(
      "this server serves no segments: start it with --segment-memory 8MiB or more");
}

absl::StatusOr<std::unique_ptr<SegmentChanger>> SegmentsService::Change(storage::SegmentChange change) {
  if (absl::Status status = CheckServed(); !status.ok()) return status;
  return std::make_unique<SegmentChanger>(*segments_, executor_, change);
}

absl::StatusOr<SegmentReader> SegmentsService::Query(const v1::QueryRequest& request) {
  if (absl::Status status = CheckServed(); !status.ok()) return status;
  absl::StatusOr<storage::SegmentQueryOptions> options = ToQueryOptions(request);
  if (!options.ok()) return options.status();
  return SegmentReader(*segments_, request, *options);
}

absl::StatusOr<SegmentValuesReader> SegmentsService::QueryValues(const v1::QueryValuesRequest& request) {
  if (absl::Status status = CheckServed(); !status.ok()) return status;
  if (!request.has_query()) {
    return absl::InvalidArgumentError(
        "query is missing: set query.expression, the ids whose values are wanted");
  }
  absl::StatusOr<storage::SegmentQueryOptions> options = ToQueryOptions(request.query());
  if (!options.ok()) return options.status();
  absl::StatusOr<KeyPattern> keys = KeyPattern::Parse(request.key_pattern());
  if (!keys.ok()) return keys.status();
  return SegmentValuesReader(*segments_, engine_, request.query(), *options, *std::move(keys));
}

absl::StatusOr<SegmentTimelineReader> SegmentsService::Timeline(const v1::TimelineRequest& request) {
  if (absl::Status status = CheckServed(); !status.ok()) return status;
  return timelines_->Read(request);
}

SegmentsService::Work SegmentsService::Count(const v1::CountRequest& request,
                                             AnswerDone<v1::CountResponse> done) {
  absl::Status status = CheckServed();
  status.Update(CheckExpression(request.expression()));
  if (!status.ok()) {
    done(std::move(status));
    return nullptr;
  }
  auto held = std::make_shared<HeldQuery>();
  auto count = [done =
                    std::move(done)](absl::StatusOr<std::shared_ptr<storage::SegmentQuery>> query) mutable {
    if (!query.ok()) return done(query.status());
    (*query)->Count([query = std::weak_ptr(*query),
                     done = std::move(done)](const absl::StatusOr<uint64_t>& counted) mutable {
      const auto live = query.lock();
      if (live == nullptr) return;
      if (!counted.ok()) return done(counted.status());
      v1::CountResponse response;
      response.set_count(*counted);
      FillProgress(live->progress(), *response.mutable_progress());
      response.mutable_progress()->set_normalized(live->normalized());
      response.mutable_progress()->set_done(true);
      done(std::move(response));
    });
  };
  held->Open(*segments_, request.expression(), {.use_kept_result = !request.fresh()}, std::move(count));
  return held;
}

SegmentsService::Work SegmentsService::Explain(const v1::ExplainRequest& request,
                                               AnswerDone<v1::ExplainResponse> done) {
  absl::Status status = CheckServed();
  status.Update(CheckExpression(request.expression()));
  if (!status.ok()) {
    done(std::move(status));
    return nullptr;
  }
  const storage::Cancellation cancellation = storage::Cancellation::New();
  segments_->Explain(
      request.expression(), request.execute(), {.cancellation = cancellation},
      [done = std::move(done)](const absl::StatusOr<storage::SegmentExplanation>& explanation) mutable {
        if (!explanation.ok()) return done(explanation.status());
        done(ToResponse(*explanation));
      });
  return CancelWhenGone(cancellation);
}

SegmentsService::Work SegmentsService::Store(const v1::StoreRequest& request,
                                             AnswerDone<v1::StoreResponse> done) {
  absl::Status status = CheckServed();
  status.Update(CheckExpression(request.expression()));
  status.Update(CheckSegmentName("segment", request.segment()));
  if (!status.ok()) {
    done(std::move(status));
    return nullptr;
  }
  const storage::Cancellation cancellation = storage::Cancellation::New();
  segments_->Store(request.expression(), request.segment(),
                   {.use_kept_result = !request.fresh(), .cancellation = cancellation},
                   [done = std::move(done)](const absl::StatusOr<storage::SegmentInfo>& info) mutable {
                     if (!info.ok()) return done(info.status());
                     v1::StoreResponse response;
                     FillSegment(*info, *response.mutable_segment());
                     done(std::move(response));
                   });
  return CancelWhenGone(cancellation);
}

void SegmentsService::List(const v1::ListRequest& request, v1::ListResponse* response, Done done) {
  absl::Status status = CheckServed();
  status.Update(CheckListing(request));
  if (!status.ok()) return done(std::move(status));
  const uint32_t limit = request.limit() == 0 ? kDefaultListed : request.limit();
  segments_->List(request.prefix(), request.after(), limit + 1,
                  [limit, response,
                   done = std::move(done)](absl::StatusOr<std::vector<storage::SegmentInfo>> listed) mutable {
                    if (!listed.ok()) return done(listed.status());
                    response->set_more(listed->size() > limit);
                    if (response->more()) listed->resize(limit);
                    for (const storage::SegmentInfo& info : *listed)
                      FillSegment(info, *response->add_segments());
                    done(absl::OkStatus());
                  });
}

void SegmentsService::Describe(const v1::DescribeRequest& request, v1::Segment* response, Done done) {
  absl::Status status = CheckServed();
  status.Update(CheckSegmentName("segment", request.segment()));
  if (!status.ok()) return done(std::move(status));
  segments_->Describe(request.segment(), [response, done = std::move(done)](
                                             const absl::StatusOr<storage::SegmentInfo>& info) mutable {
    if (info.ok()) FillSegment(*info, *response);
    done(info.status());
  });
}

void SegmentsService::Drop(const v1::DropRequest& request, v1::DropResponse* response, Done done) {
  absl::Status status = CheckServed();
  status.Update(CheckSegmentName("segment", request.segment()));
  if (!status.ok()) return done(std::move(status));
  segments_->Drop(request.segment(),
                  [response, done = std::move(done)](const absl::StatusOr<bool>& dropped) mutable {
                    if (dropped.ok()) response->set_dropped(*dropped);
                    done(dropped.status());
                  });
}

void SegmentsService::Export(const v1::ExportRequest& request, AnswerDone<v1::Job> done) {
  absl::Status status = CheckServed();
  status.Update(CheckExpression(request.expression()));
  if (status.ok() && !v1::ExportFormat_IsValid(request.format())) {
    status = absl::InvalidArgumentError(
        fmt::format("format is {}; known are LINES, PACKED and ID_FILE", static_cast<int>(request.format())));
  }
  if (!status.ok()) return done(std::move(status));
  jobs_->Export(request, std::move(done));
}

absl::StatusOr<JobWatcher> SegmentsService::WatchJob(const v1::WatchJobRequest& request) {
  if (absl::Status status = CheckServed(); !status.ok()) return status;
  return jobs_->Watch(request);
}

void SegmentsService::ListJobs(const v1::ListJobsRequest& request, v1::ListJobsResponse* response,
                               Done done) {
  absl::Status status = CheckServed();
  if (status.ok()) jobs_->List(request, *response);
  done(std::move(status));
}

void SegmentsService::CancelJob(const v1::CancelJobRequest& request, v1::Job* response, Done done) {
  absl::Status status = CheckServed();
  if (!status.ok()) return done(std::move(status));
  absl::StatusOr<v1::Job> job = jobs_->Cancel(request);
  if (job.ok()) *response = *std::move(job);
  done(job.status());
}

}  // namespace thermocline::server
