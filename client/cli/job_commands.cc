#include <mutex>
#include <optional>
#include <string>

#include "fmt/format.h"

#include "client/cli/progress.h"
#include "client/cli/segment_commands.h"
#include "client/cli/segment_text.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

// Tells how a job has ended.
ExitCode Tell(const SegmentJob& job, Context& context) {
  if (context.json) context.io.out << ToJson(job).dump() << "\n";
  if (!job.failure.ok()) return FailCall(job.failure, context.io);
  if (!context.json) context.io.out << job.url << ": " << JobSummary(job) << "\n";
  return kOk;
}

// Follows a job to its end. With --json, each news is a line.
ExitCode WatchJob(const std::string& id, Context& context) {
  const auto watcher = context.client.segments().WatchJob(id);
  std::mutex mutex;
  SegmentJob shown;  // guarded by mutex
  SegmentJob job;
  std::optional<Progress> display;
  while (watcher->Next(job) && !job.ended()) {
    if (context.json) {
      context.io.out << ToJson(job).dump() << "\n" << std::flush;
      continue;
    }
    {
      std::lock_guard lock(mutex);
      shown = job;
    }
    if (display.has_value()) continue;
    display.emplace(context.io.err, context.io.err_is_terminal, [&mutex, &shown] {
      std::lock_guard lock(mutex);
      return JobProgressLine(shown);
    });
  }
  display.reset();
  if (!watcher->status().ok()) return FailCall(watcher->status(), context.io);
  return Tell(job, context);
}

}  // namespace

ExitCode Execute(const SegmentExportCommand& command, Context& context) {
  const absl::StatusOr<SegmentJob> job =
      context.client.segments().Export(command.expression, command.url, command.options);
  if (!job.ok()) return FailCall(job.status(), context.io);
  if (command.detach) {
    context.io.out << (context.json ? ToJson(*job).dump() : job->id) << "\n";
    return kOk;
  }
  if (!context.json) {
    context.io.err << fmt::format(
        "job {0}: it goes on without this command; thermocline jobs watch {0}, or cancel {0}\n", job->id);
  }
  return WatchJob(job->id, context);
}

ExitCode Execute(const JobListCommand& command, Context& context) {
  const absl::StatusOr<std::vector<SegmentJob>> jobs =
      context.client.segments().ListJobs(command.unfinished_only);
  if (!jobs.ok()) return FailCall(jobs.status(), context.io);
  if (context.json) {
    for (const SegmentJob& job : *jobs) context.io.out << ToJson(job).dump() << "\n";
  } else if (jobs->empty()) {
    context.io.err << "there are no jobs\n";
  } else {
    context.io.out << JobTable(*jobs);
  }
  return kOk;
}

ExitCode Execute(const JobWatchCommand& command, Context& context) { return WatchJob(command.id, context); }

ExitCode Execute(const JobCancelCommand& command, Context& context) {
  ExitCode code = kOk;
  for (const std::string& id : command.ids) {
    const absl::StatusOr<SegmentJob> job = context.client.segments().CancelJob(id);
    if (!job.ok()) {
      code = FailCall(job.status(), context.io);
      continue;
    }
    // It has a moment to end.
    SegmentJob last = *job;
    const auto watcher = context.client.segments().WatchJob(id);
    while (watcher->Next(last)) {
    }
    if (!watcher->status().ok()) {
      code = FailCall(watcher->status(), context.io);
    } else if (context.json) {
      context.io.out << ToJson(last).dump() << "\n";
    } else if (last.stage == SegmentJob::Stage::kCancelled) {
      context.io.out << "cancelled " << id << "\n";
    } else {
      context.io.err << "job " << id << " had ended already: " << JobSummary(last) << "\n";
      code = kNo;
    }
  }
  return code;
}

}  // namespace thermocline::cli
