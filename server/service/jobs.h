#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/export_targets.h"
#include "storage/clock.h"
#include "storage/executor.h"
#include "storage/segments.h"
#include "thermocline/v1/segments.pb.h"

namespace thermocline::server {

class JobWatcher;

// Exports as jobs, which live on when the call that has started them is over: the methods of segments.proto
// that are about them. Jobs begin in the order in which they came, some run at once, and the last that have
// ended are remembered. Thread-safe.
class Jobs {
 public:
  struct Options {
    size_t max_running = 8;
    size_t max_waiting = 500;
    uint64_t max_waiting_bytes = uint64_t{8} << 20;  // of the expressions of jobs that have not ended
    size_t max_ended = 1000;                         // that are remembered
  };

  // All must outlive it; `executor` must outlive its watchers too.
  Jobs(storage::Segments& segments, const ExportTargets& targets, storage::Clock& clock,
       storage::Executor& executor, const Options& options);
  Jobs(storage::Segments& segments, const ExportTargets& targets, storage::Clock& clock,
       storage::Executor& executor)
      : Jobs(segments, targets, clock, executor, Options()) {}
  // Stops. What exports hold is let go of on their executor.
  ~Jobs();

  // Cancels all jobs and lets no other begin (UNAVAILABLE). Those who watch them learn of it.
  void Stop();

  // Calls `done` once, during the call or later on a thread of the segments. The request must be in order but
  // for its URL.
  //   ALREADY_EXISTS      a job that has not ended writes to the URL
  //   RESOURCE_EXHAUSTED  too many jobs wait
  //   others as ExportTargets::Resolve and storage::Segments::Explain
  void Export(const v1::ExportRequest& request, absl::AnyInvocable<void(absl::StatusOr<v1::Job>)> done);

  // NOT_FOUND.
  absl::StatusOr<JobWatcher> Watch(const v1::WatchJobRequest& request);
  void List(const v1::ListJobsRequest& request, v1::ListJobsResponse& response);
  absl::StatusOr<v1::Job> Cancel(const v1::CancelJobRequest& request);

 private:
  friend class JobWatcher;
  struct Record;
  class State;
  const std::shared_ptr<State> state_;
};

// The responses of Segments.WatchJob. May be destroyed at any time, also while a response is waited for.
class JobWatcher {
 public:
  JobWatcher(JobWatcher&&) = default;
  ~JobWatcher();

  // Fills in the next response, says whether more follow, and calls `done` with that once, during the call or
  // later, unless this is destroyed before; not before that, nor after the last. `response` must live as long
  // as `done`.
  void Next(v1::Job* response, absl::AnyInvocable<void(absl::StatusOr<bool>)> done);

 private:
  friend class Jobs;
  struct Watch;
  explicit JobWatcher(std::shared_ptr<Watch> watch);

  std::shared_ptr<Watch> watch_;
};

}  // namespace thermocline::server
