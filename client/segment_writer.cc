#include "client/segment_writer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "client/segment_conversion.h"

namespace thermocline {
namespace {

// Large enough that a message costs nothing beside its ids, small enough that one under way and one being
// filled are little memory.
constexpr size_t kIdsPerMessage = 32 << 10;

}  // namespace

SegmentWriter::Impl::Impl(transport::Transport& transport, Method method, std::string_view segment,
                          const SegmentChangeOptions& options, std::chrono::milliseconds connect_timeout)
    : transport_(transport), method_(method), timeout_(options.timeout), connect_timeout_(connect_timeout) {
  filling_.set_segment(std::string(segment));
  filling_.set_count_changed(options.count_changed);
}

SegmentWriter::Impl::~Impl() {
  if (!begun_) return;
  // A call that is cancelled before its last message changes nothing.
  context_.TryCancel();
  Release();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return status_.has_value(); });
}

absl::Status SegmentWriter::Impl::Write(std::span<const uint64_t> ids) {
  while (failure_.ok() && !ids.empty()) {
    const size_t room = kIdsPerMessage - static_cast<size_t>(filling_.ids_size());
    const std::span<const uint64_t> part = ids.first(std::min(room, ids.size()));
    filling_.mutable_ids()->Add(part.begin(), part.end());
    ids = ids.subspan(part.size());
    if (static_cast<size_t>(filling_.ids_size()) == kIdsPerMessage) failure_ = Send(false);
  }
  return failure_;
}

absl::StatusOr<SegmentChange> SegmentWriter::Impl::Finish() {
  if (failure_.ok()) failure_ = Send(true);
  if (failure_.ok()) failure_ = Await(true);
  if (!failure_.ok()) return failure_;
  failure_ = absl::FailedPreconditionError("the change is finished");
  return conversion::ToChange(response_);
}

absl::Status SegmentWriter::Impl::Send(bool last) {
  if (!begun_) {
    if (absl::Status begun = Begin(); !begun.ok()) return begun;
  }
  if (absl::Status gone = Await(false); !gone.ok()) return gone;
  std::swap(filling_, leaving_);
  filling_.Clear();
  {
    std::lock_guard lock(mutex_);
    sending_ = true;
  }
  if (!last) {
    StartWrite(&leaving_);
    return absl::OkStatus();
  }
  StartWriteLast(&leaving_, grpc::WriteOptions());
  Release();
  return absl::OkStatus();
}

absl::Status SegmentWriter::Impl::Begin() {
  const transport::Deadline deadline = transport::After(connect_timeout_);
  if (absl::Status connected = transport_.AwaitConnection(deadline); !connected.ok()) return connected;
  (transport_.segments().async()->*method_)(&context_, &response_, this);
  // Messages are sent from outside of reactions, so the call must not end before the last one.
  AddHold();
  held_ = true;
  begun_ = true;
  StartCall();
  return absl::OkStatus();
}

absl::Status SegmentWriter::Impl::Await(bool last) {
  const transport::Deadline deadline = transport::After(timeout_.value_or(std::chrono::milliseconds::max()));
  std::unique_lock lock(mutex_);
  const bool in_time = changed_.wait_until(
      lock, deadline, [this, last] { return status_.has_value() || (!last && !sending_); });
  if (!in_time) {
    context_.TryCancel();
    return absl::DeadlineExceededError(
        last ? "the server did not answer within the timeout; nobody knows whether the segment has changed"
             : "the server took no further ids within the timeout; the segment has not changed");
  }
  if (!status_.has_value()) return absl::OkStatus();
  if (!last && status_->ok()) return absl::InternalError("the server answered before the last of the ids");
  return *status_;
}

void SegmentWriter::Impl::Release() {
  bool held;
  {
    std::lock_guard lock(mutex_);
    held = std::exchange(held_, false);
  }
  if (held) RemoveHold();
}

void SegmentWriter::Impl::OnWriteDone(bool ok) {
  // After a message that could not leave, the call has ended, and the writer is told how when it has.
  if (!ok) return Release();
  std::lock_guard lock(mutex_);
  sending_ = false;
  changed_.notify_one();
}

void SegmentWriter::Impl::OnDone(const grpc::Status& status) {
  std::lock_guard lock(mutex_);
  status_ = transport::ToStatus(status);
  changed_.notify_one();
}

SegmentWriter::SegmentWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SegmentWriter::~SegmentWriter() = default;

absl::Status SegmentWriter::Write(std::span<const uint64_t> ids) { return impl_->Write(ids); }
absl::StatusOr<SegmentChange> SegmentWriter::Finish() { return impl_->Finish(); }

}  // namespace thermocline
