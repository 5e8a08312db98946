#include "server/service/segment_change.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "fmt/format.h"

#include "server/service/segment_requests.h"
#include "storage/thread_annotations.h"

namespace thermocline::server {
namespace {

void AddIds(storage::SegmentWrite& write, const v1::ChangeRequest& request, SegmentChanger::Done done) {
  if (request.ids().empty()) return done(absl::OkStatus());
  static_assert(sizeof(*request.ids().data()) == sizeof(uint64_t));
  write.Add(std::span<const uint64_t>(request.ids().data(), static_cast<size_t>(request.ids_size())),
            std::move(done));
}

}  // namespace

struct SegmentChanger::State {
  storage::Mutex mutex;
  bool gone ABSL_GUARDED_BY(mutex) = false;
  std::unique_ptr<storage::SegmentWrite> write ABSL_GUARDED_BY(mutex);
};

SegmentChanger::SegmentChanger(storage::Segments& segments, storage::Executor& executor,
                               storage::SegmentChange change)
    : segments_(segments), executor_(executor), change_(change), state_(std::make_shared<State>()) {}

SegmentChanger::~SegmentChanger() {
  storage::MutexLock lock(state_->mutex);
  state_->gone = true;
  state_->write = nullptr;
}

absl::Status SegmentChanger::CheckName(const v1::ChangeRequest& request) {
  if (name_.empty()) {
    absl::Status status = CheckSegmentName("segment of the first message", request.segment());
    if (status.ok()) name_ = request.segment();
    return status;
  }
  if (request.segment().empty() || request.segment() == name_) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "segment is \"{}\" in a later message, but the call began with \"{}\": make a call for each "
      "segment",
      request.segment(), name_));
}

void SegmentChanger::Take(const v1::ChangeRequest& request, Done done) {
  const bool first = name_.empty();
  if (absl::Status status = CheckName(request); !status.ok()) return done(std::move(status));
  if (!first) {
    storage::MutexLock lock(state_->mutex);
    return AddIds(*state_->write, request, std::move(done));
  }
  // Opening it may wait for the disk.
  executor_.Run(
      [state = state_, &segments = segments_, change = change_, &request, done = std::move(done)]() mutable {
        // Whoever destroys the changer waits, and may destroy `segments` then.
        storage::MutexLock lock(state->mutex);
        if (state->gone) return;
        absl::StatusOr<std::unique_ptr<storage::SegmentWrite>> opened =
            segments.Write(request.segment(), change, {.count_changed = request.count_changed()});
        if (!opened.ok()) return done(opened.status());
        state->write = *std::move(opened);
        AddIds(*state->write, request, std::move(done));
      });
}

void SegmentChanger::Finish(v1::ChangeResponse* response, Done done) {
  if (name_.empty()) {
    return done(absl::InvalidArgumentError(
        "the call has no message: send at least one, which names the segment, even if it has no ids"));
  }
  storage::MutexLock lock(state_->mutex);
  state_->write->Finish(
      [response, done = std::move(done)](absl::StatusOr<storage::SegmentWriteResult> result) mutable {
        if (!result.ok()) return done(result.status());
        response->set_received(result->received);
        response->set_distinct(result->distinct);
        if (result->changed) response->set_changed(*result->changed);
        response->set_version(result->version);
        done(absl::OkStatus());
      });
}

}  // namespace thermocline::server
