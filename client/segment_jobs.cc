#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "client/read_stream.h"
#include "client/segment_call.h"
#include "client/segment_conversion.h"
#include "client/segments.h"
#include "client/segments_impl.h"

namespace thermocline {

using transport::Deadline;

class SegmentJobWatcher::Impl {
 public:
  Impl(transport::Transport& transport, std::string_view id, std::chrono::milliseconds reconnect_timeout)
      : transport_(transport), reconnect_timeout_(reconnect_timeout) {
    request_.set_id(std::string(id));
  }

  bool Next(SegmentJob& job) {
    if (ended_ || !status_.ok()) return false;
    transport::Backoff backoff;
    std::optional<Deadline> reconnect_until;
    for (;;) {
      if (!stream_.has_value())
        stream_.emplace(transport_.segments().async(), &SegmentCalls::WatchJob, request_);
      // While nothing changes, nothing comes.
      const absl::StatusOr<bool> next = stream_->Next(transport::After(std::chrono::milliseconds::max()), response_);
      if (next.ok() && *next) {
        job = conversion::ToJob(response_);
        ended_ = job.ended();
        return true;
      }
      stream_.reset();
      status_ = next.ok() ? absl::InternalError("the server stopped telling of a job that has not ended")
                          : next.status();
      const Deadline retry = std::chrono::system_clock::now() + backoff.Next();
      if (!reconnect_until.has_value()) reconnect_until = transport::After(reconnect_timeout_);
      if (!absl::IsUnavailable(status_) || retry >= *reconnect_until) return false;
      status_ = absl::OkStatus();
      std::this_thread::sleep_until(retry);
    }
  }

  const absl::Status& status() const { return status_; }

 private:
  transport::Transport& transport_;
  const std::chrono::milliseconds reconnect_timeout_;
  v1::WatchJobRequest request_;
  v1::Job response_;
  std::optional<transport::ReadStream<SegmentCalls, v1::WatchJobRequest, v1::Job>> stream_;
  bool ended_ = false;
  absl::Status status_;
};

SegmentJobWatcher::SegmentJobWatcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SegmentJobWatcher::~SegmentJobWatcher() = default;

bool SegmentJobWatcher::Next(SegmentJob& job) { return impl_->Next(job); }
const absl::Status& SegmentJobWatcher::status() const { return impl_->status(); }

absl::StatusOr<SegmentJob> Segments::Export(std::string_view expression, std::string_view url,
                                            const SegmentExportOptions& options) {
  v1::ExportRequest request;
  request.set_expression(std::string(expression));
  request.set_url(std::string(url));
  request.set_format(conversion::ToWire(options.format));
  request.set_replace(options.replace);
  request.set_limit(options.limit);
  if (options.after.has_value()) request.set_after(*options.after);
  request.set_fresh(options.fresh);
  const Deadline deadline = transport::After(impl_->Timeout(options.timeout));
  const auto response = AwaitCall(impl_->transport(), &SegmentCalls::Export, std::move(request),
                                  transport::SendOnce(), deadline);
  if (!response.ok()) return response.status();
  return conversion::ToJob(*response);
}

std::unique_ptr<SegmentJobWatcher> Segments::WatchJob(std::string_view id) {
  return std::unique_ptr<SegmentJobWatcher>(new SegmentJobWatcher(
      std::make_unique<SegmentJobWatcher::Impl>(impl_->transport(), id, impl_->timeout())));
}

absl::StatusOr<std::vector<SegmentJob>> Segments::ListJobs(bool unfinished_only, const CallOptions& options) {
  v1::ListJobsRequest request;
  request.set_unfinished_only(unfinished_only);
  const Deadline deadline = transport::After(impl_->Timeout(options.timeout));
  const auto response = AwaitCall(impl_->transport(), &SegmentCalls::ListJobs, std::move(request),
                                  transport::RepeatUntil(deadline), deadline);
  if (!response.ok()) return response.status();
  std::vector<SegmentJob> jobs;
  for (const v1::Job& job : response->jobs()) jobs.push_back(conversion::ToJob(job));
  return jobs;
}

absl::StatusOr<SegmentJob> Segments::CancelJob(std::string_view id, const CallOptions& options) {
  v1::CancelJobRequest request;
  request.set_id(std::string(id));
  const Deadline deadline = transport::After(impl_->Timeout(options.timeout));
  const auto response = AwaitCall(impl_->transport(), &SegmentCalls::CancelJob, std::move(request),
                                  transport::RepeatUntil(deadline), deadline);
  if (!response.ok()) return response.status();
  return conversion::ToJob(*response);
}

}  // namespace thermocline
