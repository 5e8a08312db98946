#include "client/segments.h"

#include <algorithm>
#include <utility>

#include "client/segment_call.h"
#include "client/segment_conversion.h"
#include "client/segment_reader.h"
#include "client/segment_writer.h"
#include "client/segments_impl.h"
#include "thermocline/v1/segments.grpc.pb.h"

namespace thermocline {
namespace {

using std::chrono::milliseconds;
using transport::Deadline;
using transport::Repetition;

constexpr milliseconds kAsLongAsItTakes = milliseconds::max();
constexpr uint32_t kSegmentsPerPage = 1000;

// A server that cannot be reached is not waited for as long as one that is at work.
Repetition RepeatWithin(Deadline deadline, milliseconds timeout) {
  return transport::RepeatUntil(std::min(deadline, transport::After(timeout)));
}

v1::QueryRequest ToRequest(std::string_view expression, const SegmentQueryOptions& options) {
  v1::QueryRequest request;
  request.set_expression(std::string(expression));
  request.set_limit(options.limit);
  if (options.after.has_value()) request.set_after(*options.after);
  request.set_fresh(options.fresh);
  return request;
}

absl::StatusOr<SegmentChange> WriteAll(SegmentWriter& writer, std::span<const uint64_t> ids) {
  if (absl::Status written = writer.Write(ids); !written.ok()) return written;
  return writer.Finish();
}

}  // namespace

Segments::Segments(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Segments::~Segments() = default;

std::unique_ptr<SegmentWriter> Segments::Add(std::string_view segment, const SegmentChangeOptions& options) {
  return std::unique_ptr<SegmentWriter>(new SegmentWriter(std::make_unique<SegmentWriter::Impl>(
      impl_->transport(), &SegmentCalls::Add, segment, options, impl_->timeout())));
}

std::unique_ptr<SegmentWriter> Segments::Remove(std::string_view segment,
                                                const SegmentChangeOptions& options) {
  return std::unique_ptr<SegmentWriter>(new SegmentWriter(std::make_unique<SegmentWriter::Impl>(
      impl_->transport(), &SegmentCalls::Remove, segment, options, impl_->timeout())));
}

std::unique_ptr<SegmentWriter> Segments::Load(std::string_view segment, const SegmentChangeOptions& options) {
  return std::unique_ptr<SegmentWriter>(new SegmentWriter(std::make_unique<SegmentWriter::Impl>(
      impl_->transport(), &SegmentCalls::Load, segment, options, impl_->timeout())));
}

absl::StatusOr<SegmentChange> Segments::Add(std::string_view segment, std::span<const uint64_t> ids,
                                            const SegmentChangeOptions& options) {
  return WriteAll(*Add(segment, options), ids);
}

absl::StatusOr<SegmentChange> Segments::Remove(std::string_view segment, std::span<const uint64_t> ids,
                                               const SegmentChangeOptions& options) {
  return WriteAll(*Remove(segment, options), ids);
}

absl::StatusOr<SegmentChange> Segments::Load(std::string_view segment, std::span<const uint64_t> ids,
                                             const SegmentChangeOptions& options) {
  return WriteAll(*Load(segment, options), ids);
}

std::unique_ptr<SegmentReader> Segments::Query(std::string_view expression,
                                               const SegmentQueryOptions& options) {
  v1::QueryRequest request = ToRequest(expression, options);
  request.set_accept_bitmaps(true);
  return std::unique_ptr<SegmentReader>(new SegmentReader(std::make_unique<SegmentReader::Impl>(
      impl_->transport(), std::move(request), options.timeout, impl_->timeout())));
}

std::unique_ptr<SegmentValueReader> Segments::QueryValues(std::string_view expression,
                                                          std::string_view key_pattern,
                                                          const SegmentQueryOptions& options) {
  v1::QueryValuesRequest request;
  *request.mutable_query() = ToRequest(expression, options);
  request.set_key_pattern(std::string(key_pattern));
  return std::unique_ptr<SegmentValueReader>(
      new SegmentValueReader(std::make_unique<SegmentValueReader::Impl>(
          impl_->transport(), std::move(request), options.timeout, impl_->timeout())));
}

absl::StatusOr<SegmentCount> Segments::Count(std::string_view expression,
                                             const SegmentCountOptions& options) {
  v1::CountRequest request;
  request.set_expression(std::string(expression));
  request.set_fresh(options.fresh);
  const Deadline deadline = transport::After(options.timeout.value_or(kAsLongAsItTakes));
  const auto response = AwaitCall(impl_->transport(), &SegmentCalls::Count, std::move(request),
                                  RepeatWithin(deadline, impl_->timeout()), deadline);
  if (!response.ok()) return response.status();
  return SegmentCount{response->count(), conversion::ToProgress(response->progress())};
}

absl::StatusOr<SegmentPlan> Segments::Explain(std::string_view expression,
                                              const SegmentExplainOptions& options) {
  v1::ExplainRequest request;
  request.set_expression(std::string(expression));
  request.set_execute(options.execute);
  const Deadline deadline = transport::After(options.timeout.value_or(kAsLongAsItTakes));
  const auto response = AwaitCall(impl_->transport(), &SegmentCalls::Explain, std::move(request),
                                  RepeatWithin(deadline, impl_->timeout()), deadline);
  if (!response.ok()) return response.status();
  return conversion::ToPlan(*response);
}

absl::StatusOr<SegmentInfo> Segments::Store(std::string_view segment, std::string_view expression,
                                            const SegmentStoreOptions& options) {
  const Deadline deadline = transport::After(options.timeout.value_or(kAsLongAsItTakes));
  // Not gRPC's own wait for a connection: that would last as long as the call may take.
  const Deadline connect_until = std::min(deadline, transport::After(impl_->timeout()));
  if (absl::Status connected = impl_->transport().AwaitConnection(connect_until); !connected.ok())
    return connected;
  v1::StoreRequest request;
  request.set_segment(std::string(segment));
  request.set_expression(std::string(expression));
  request.set_fresh(options.fresh);
  const auto response =
      AwaitCall(impl_->transport(), &SegmentCalls::Store, std::move(request),
                Repetition{.wait_for_connection = false, .until = Deadline::min()}, deadline);
  if (!response.ok()) return response.status();
  return conversion::ToInfo(response->segment());
}

absl::StatusOr<std::vector<SegmentInfo>> Segments::List(std::string_view prefix, const CallOptions& options) {
  std::vector<SegmentInfo> segments;
  v1::ListRequest request;
  request.set_prefix(std::string(prefix));
  request.set_limit(kSegmentsPerPage);
  for (bool more = true; more;) {
    const Deadline deadline = transport::After(impl_->Timeout(options.timeout));
    const auto page = AwaitCall(impl_->transport(), &SegmentCalls::List, request,
                                transport::RepeatUntil(deadline), deadline);
    if (!page.ok()) return page.status();
    for (const v1::Segment& segment : page->segments()) segments.push_back(conversion::ToInfo(segment));
    more = page->more();
    if (!more) break;
    if (page->segments().empty())
      return absl::InternalError("the server sent a page of segments that is empty and not the last");
    request.set_after(segments.back().name);
  }
  return segments;
}

absl::StatusOr<std::optional<SegmentInfo>> Segments::Describe(std::string_view segment,
                                                              const CallOptions& options) {
  v1::DescribeRequest request;
  request.set_segment(std::string(segment));
  const Deadline deadline = transport::After(impl_->Timeout(options.timeout));
  const auto response = AwaitCall(impl_->transport(), &SegmentCalls::Describe, std::move(request),
                                  transport::RepeatUntil(deadline), deadline);
  if (absl::IsNotFound(response.status())) return std::optional<SegmentInfo>();
  if (!response.ok()) return response.status();
  return std::optional<SegmentInfo>(conversion::ToInfo(*response));
}

absl::StatusOr<bool> Segments::Drop(std::string_view segment, const CallOptions& options) {
  v1::DropRequest request;
  request.set_segment(std::string(segment));
  const Deadline deadline = transport::After(impl_->Timeout(options.timeout));
  const auto response =
      AwaitCall(impl_->transport(), &SegmentCalls::Drop, std::move(request), transport::SendOnce(), deadline);
  if (!response.ok()) return response.status();
  return response->dropped();
}

}  // namespace thermocline
