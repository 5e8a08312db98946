#include <algorithm>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "client/read_stream.h"
#include "client/segment_call.h"
#include "client/segment_conversion.h"
#include "client/segments.h"
#include "client/segments_impl.h"

namespace thermocline {
namespace {

SegmentTimelineChange ToRow(const v1::TimelineResponse::Change& wire) {
  return {.at_us = wire.at_us(), .running = wire.running(), .started = wire.started(), .ended = wire.ended()};
}

SegmentTimelineBucket ToRow(const v1::TimelineResponse::Bucket& wire) {
  return {.begin_us = wire.begin_us(),
          .least = wire.least(),
          .most = wire.most(),
          .mean = wire.mean(),
          .started = wire.started(),
          .ended = wire.ended()};
}

template <class Row, class Wire>
std::span<const Row> ToRows(const Wire& wire, std::vector<Row>& rows) {
  rows.clear();
  for (const auto& row : wire) rows.push_back(ToRow(row));
  return rows;
}

v1::TimelineRequest ToRequest(std::string_view expression, std::string_view key_pattern,
                              const SegmentTimelineOptions& options) {
  v1::TimelineRequest request;
  v1::QueryRequest& query = *request.mutable_query();
  query.set_expression(std::string(expression));
  query.set_limit(options.limit);
  if (options.after.has_value()) query.set_after(*options.after);
  query.set_fresh(options.fresh);
  request.set_key_pattern(std::string(key_pattern));
  request.set_start(options.start);
  request.set_end(options.end);
  // One below zero is refused by the server as too large.
  request.set_unit_us(static_cast<uint64_t>(options.unit.count()));
  request.set_every_us(static_cast<uint64_t>(options.every.count()));
  return request;
}

}  // namespace

class SegmentTimelineReader::Impl {
 public:
  Impl(transport::Transport& transport, v1::TimelineRequest request,
       std::optional<std::chrono::milliseconds> timeout, std::chrono::milliseconds reconnect_timeout)
      : transport_(transport),
        request_(std::move(request)),
        timeout_(timeout.value_or(std::chrono::milliseconds::max())),
        reconnect_timeout_(std::min(timeout_, reconnect_timeout)) {}

  bool ReadValues() {
    while (!ended_ && status_.ok() && !complete_) Receive();
    return status_.ok();
  }

  bool Next(std::span<const SegmentTimelineChange>& changes) {
    changes = {};
    if (!NextRows()) return false;
    changes = ToRows(response_.changes(), changes_);
    return !changes.empty() || Fail(absl::FailedPreconditionError("the timeline was asked for in buckets"));
  }

  bool Next(std::span<const SegmentTimelineBucket>& buckets) {
    buckets = {};
    if (!NextRows()) return false;
    buckets = ToRows(response_.buckets(), buckets_);
    return !buckets.empty() || Fail(absl::FailedPreconditionError("the timeline was asked for in changes"));
  }

  const absl::Status& status() const { return status_; }

  SegmentTimelineSummary summary() const {
    std::lock_guard lock(mutex_);
    return summary_;
  }

  SegmentProgress progress() const {
    std::lock_guard lock(mutex_);
    return progress_;
  }

 private:
  using Stream = transport::ReadStream<SegmentCalls, v1::TimelineRequest, v1::TimelineResponse>;

  bool NextRows() {
    while (!ended_ && status_.ok()) {
      Receive();
      if (!status_.ok() || response_.changes().empty() == response_.buckets().empty()) continue;
      handed_out_ = true;
      return true;
    }
    return false;
  }

  void Receive() {
    transport::Backoff backoff;
    const transport::Deadline deadline = transport::After(timeout_);
    std::optional<transport::Deadline> reconnect_until;
    for (;;) {
      if (!stream_.has_value())
        stream_.emplace(transport_.segments().async(), &SegmentCalls::Timeline, request_);
      const absl::StatusOr<bool> next = stream_->Next(deadline, response_);
      if (next.ok() && *next) return Accept();
      response_.Clear();
      status_ = next.ok()
                    ? absl::InternalError("the server ended the timeline without saying that it is done")
                    : next.status();
      stream_.reset();
      const transport::Deadline retry = std::chrono::system_clock::now() + backoff.Next();
      if (!reconnect_until.has_value()) reconnect_until = transport::After(reconnect_timeout_);
      if (!absl::IsUnavailable(status_) || handed_out_ || retry >= *reconnect_until) return;
      status_ = absl::OkStatus();
      complete_ = false;
      std::this_thread::sleep_until(retry);
    }
  }

  void Accept() {
    ended_ = response_.progress().done();
    SegmentProgress progress = conversion::ToProgress(response_.progress());
    std::lock_guard lock(mutex_);
    if (response_.has_summary()) summary_ = conversion::ToSummary(response_.summary());
    complete_ = summary_.complete;
    if (progress.normalized.empty()) progress.normalized = std::move(progress_.normalized);
    progress_ = std::move(progress);
  }

  bool Fail(absl::Status status) {
    status_ = std::move(status);
    stream_.reset();
    return false;
  }

  transport::Transport& transport_;
  const v1::TimelineRequest request_;
  const std::chrono::milliseconds timeout_;
  const std::chrono::milliseconds reconnect_timeout_;
  std::optional<Stream> stream_;
  v1::TimelineResponse response_;
  std::vector<SegmentTimelineChange> changes_;
  std::vector<SegmentTimelineBucket> buckets_;
  bool complete_ = false;
  bool handed_out_ = false;  // some rows
  bool ended_ = false;
  absl::Status status_;

  mutable std::mutex mutex_;
  SegmentTimelineSummary summary_;  // guarded by mutex_
  SegmentProgress progress_;        // guarded by mutex_
};

SegmentTimelineReader::SegmentTimelineReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SegmentTimelineReader::~SegmentTimelineReader() = default;

bool SegmentTimelineReader::ReadValues() { return impl_->ReadValues(); }
bool SegmentTimelineReader::Next(std::span<const SegmentTimelineChange>& changes) {
  return impl_->Next(changes);
}
bool SegmentTimelineReader::Next(std::span<const SegmentTimelineBucket>& buckets) {
  return impl_->Next(buckets);
}
const absl::Status& SegmentTimelineReader::status() const { return impl_->status(); }
SegmentTimelineSummary SegmentTimelineReader::summary() const { return impl_->summary(); }
SegmentProgress SegmentTimelineReader::progress() const { return impl_->progress(); }

std::unique_ptr<SegmentTimelineReader> Segments::Timeline(std::string_view expression,
                                                          std::string_view key_pattern,
                                                          const SegmentTimelineOptions& options) {
  return std::unique_ptr<SegmentTimelineReader>(
      new SegmentTimelineReader(std::make_unique<SegmentTimelineReader::Impl>(
          impl_->transport(), ToRequest(expression, key_pattern, options), options.timeout,
          impl_->timeout())));
}

}  // namespace thermocline
