#pragma once

#include <algorithm>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"

#include "client/read_stream.h"
#include "client/segment_conversion.h"
#include "client/segments.h"
#include "client/transport.h"
#include "thermocline/v1/segments.grpc.pb.h"

namespace thermocline {

using SegmentCalls = v1::Segments::StubInterface::async_interface;

inline v1::QueryRequest& QueryOf(v1::QueryRequest& request) { return request; }
inline v1::QueryRequest& QueryOf(v1::QueryValuesRequest& request) { return *request.mutable_query(); }

// The responses of a query, over a new connection behind the last id when the old one breaks. For one thread
// at a time, but for progress().
template <class Request, class Response>
class SegmentStream {
 public:
  using Stream = transport::ReadStream<SegmentCalls, Request, Response>;

  SegmentStream(transport::Transport& transport, typename Stream::Method method, Request request,
                std::optional<std::chrono::milliseconds> timeout, std::chrono::milliseconds reconnect_timeout)
      : transport_(transport),
        method_(method),
        request_(std::move(request)),
        timeout_(timeout.value_or(std::chrono::milliseconds::max())),
        reconnect_timeout_(std::min(timeout_, reconnect_timeout)) {}

  // Replaces `response` by the next one. False at the end or on failure: see status().
  bool Next(Response& response) {
    if (finished_ || !status_.ok()) return false;
    transport::Backoff backoff;
    const transport::Deadline deadline = transport::After(timeout_);
    std::optional<transport::Deadline> reconnect_until;
    for (;;) {
      if (!stream_.has_value()) stream_.emplace(transport_.segments().async(), method_, request_);
      const absl::StatusOr<bool> next = stream_->Next(deadline, response);
      if (next.ok()) return *next ? Accept(response.progress()) : Fail(kEarlyEnd);
      stream_.reset();
      const transport::Deadline retry = std::chrono::system_clock::now() + backoff.Next();
      if (!reconnect_until.has_value()) reconnect_until = transport::After(reconnect_timeout_);
      if (next.status().code() != absl::StatusCode::kUnavailable || retry >= *reconnect_until)
        return Fail(next.status());
      std::this_thread::sleep_until(retry);
      if (Resume()) return false;
    }
  }

  // These ids of the response have been handed out; the last of them was `last`.
  void HandedOut(uint64_t count, uint64_t last) {
    handed_out_ += count;
    last_ = last;
  }

  // The server does not keep to the contract. Returns false.
  bool Fail(absl::Status status) {
    status_ = std::move(status);
    stream_.reset();
    return false;
  }

  const absl::Status& status() const { return status_; }

  SegmentProgress progress() const {
    std::lock_guard lock(mutex_);
    return progress_;
  }

 private:
  inline static const absl::Status kEarlyEnd =
      absl::InternalError("the server ended the query without saying that it is done");

  bool Accept(const v1::Progress& wire) {
    finished_ = wire.done();
    SegmentProgress progress = conversion::ToProgress(wire);
    std::lock_guard lock(mutex_);
    // Only the first response of a call tells the expression, and a call knows of its own ids only.
    if (progress.normalized.empty()) progress.normalized = std::move(progress_.normalized);
    progress.ids += handed_out_before_;
    progress.max_ids += handed_out_before_;
    progress_ = std::move(progress);
    return true;
  }

  // Lets the request begin behind the last id. True if nothing is left to ask for.
  bool Resume() {
    const uint64_t new_ids = handed_out_ - handed_out_before_;
    if (new_ids == 0) return false;
    v1::QueryRequest& query = QueryOf(request_);
    query.set_after(last_);
    finished_ = query.limit() != 0 && query.limit() <= new_ids;
    if (query.limit() != 0 && !finished_) query.set_limit(query.limit() - new_ids);
    handed_out_before_ = handed_out_;
    return finished_;
  }

  transport::Transport& transport_;
  const typename Stream::Method method_;
  Request request_;
  const std::chrono::milliseconds timeout_;
  const std::chrono::milliseconds reconnect_timeout_;
  std::optional<Stream> stream_;
  bool finished_ = false;
  absl::Status status_;
  uint64_t handed_out_ = 0;
  uint64_t handed_out_before_ = 0;  // by the calls before this one
  uint64_t last_ = 0;

  mutable std::mutex mutex_;
  SegmentProgress progress_;  // guarded by mutex_
};

}  // namespace thermocline
