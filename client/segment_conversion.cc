#include "client/segment_conversion.h"

namespace thermocline::conversion {
namespace {

std::chrono::system_clock::time_point ToTime(uint64_t ms_since_1970) {
  return std::chrono::system_clock::time_point(std::chrono::milliseconds(ms_since_1970));
}

SegmentPlanStep::Kind ToKind(v1::PlanStep::Kind kind) {
  using Kind = SegmentPlanStep::Kind;
  switch (kind) {
    case v1::PlanStep::UNION:
      return Kind::kUnion;
    case v1::PlanStep::INTERSECTION:
      return Kind::kIntersection;
    case v1::PlanStep::DIFFERENCE:
      return Kind::kDifference;
    case v1::PlanStep::FILE:
      return Kind::kFile;
    case v1::PlanStep::RECENT:
      return Kind::kRecent;
    case v1::PlanStep::EMPTY:
      return Kind::kEmpty;
    case v1::PlanStep::KEPT_RESULT:
      return Kind::kKeptResult;
    case v1::PlanStep::PART:
      return Kind::kPart;
    case v1::PlanStep::SOURCE:
      return Kind::kSource;
    default:
      return Kind::kUnknown;
  }
}

SegmentExportFormat ToFormat(v1::ExportFormat format) {
  if (format == v1::PACKED) return SegmentExportFormat::kPacked;
  return format == v1::ID_FILE ? SegmentExportFormat::kIdFile : SegmentExportFormat::kLines;
}

SegmentJob::Stage ToStage(v1::Job::Stage stage) {
  using Stage = SegmentJob::Stage;
  switch (stage) {
    case v1::Job::WAITING:
      return Stage::kWaiting;
    case v1::Job::PLANNING:
      return Stage::kPlanning;
    case v1::Job::WRITING:
      return Stage::kWriting;
    case v1::Job::FINISHING:
      return Stage::kFinishing;
    case v1::Job::DONE:
      return Stage::kDone;
    case v1::Job::FAILED:
      return Stage::kFailed;
    case v1::Job::CANCELLED:
      return Stage::kCancelled;
    default:
      return Stage::kUnknown;
  }
}

SegmentPlanStep ToStep(const v1::PlanStep& wire) {
  SegmentPlanStep step{
      .kind = ToKind(wire.kind()),
      .segment = wire.segment(),
      .object = wire.object(),
      .min_count = wire.min_count(),
      .max_count = wire.max_count(),
      .estimated_count = wire.estimated_count(),
      .blocks = wire.blocks(),
      .bytes = wire.bytes(),
      .memory_bytes = wire.memory_bytes(),
      .exact_count = std::nullopt,
      .blocks_read = wire.blocks_read(),
      .bytes_read = wire.bytes_read(),
      .inputs = {},
  };
  if (wire.has_exact_count()) step.exact_count = wire.exact_count();
  step.inputs.reserve(static_cast<size_t>(wire.inputs_size()));
  for (const v1::PlanStep& input : wire.inputs()) step.inputs.push_back(ToStep(input));
  return step;
}

}  // namespace

SegmentChange ToChange(const v1::ChangeResponse& response) {
  SegmentChange change{.received = response.received(),
                       .distinct = response.distinct(),
                       .changed = std::nullopt,
                       .version = response.version()};
  if (response.has_changed()) change.changed = response.changed();
  return change;
}

SegmentProgress ToProgress(const v1::Progress& progress) {
  return {
      .ids = progress.ids(),
      .max_ids = progress.max_ids(),
      .blocks = progress.blocks(),
      .blocks_read = progress.blocks_read(),
      .blocks_passed = progress.blocks_passed(),
      .bytes_read = progress.bytes_read(),
      .elapsed = std::chrono::milliseconds(progress.elapsed_ms()),
      .memory_bytes = progress.memory_bytes(),
      .from_kept_result = progress.from_kept_result(),
      .normalized = progress.normalized(),
  };
}

SegmentPlan ToPlan(const v1::ExplainResponse& response) {
  SegmentPlan plan{
      .normalized = response.normalized(),
      .root = ToStep(response.plan()),
      .memory_bytes = response.memory_bytes(),
      .kept_result = response.kept_result(),
      .execution = std::nullopt,
  };
  if (response.has_execution()) plan.execution = ToProgress(response.execution());
  return plan;
}

v1::ExportFormat ToWire(SegmentExportFormat format) {
  switch (format) {
    case SegmentExportFormat::kLines:
      return v1::LINES;
    case SegmentExportFormat::kPacked:
      return v1::PACKED;
    case SegmentExportFormat::kIdFile:
      return v1::ID_FILE;
  }
  return v1::EXPORT_FORMAT_UNSPECIFIED;
}

SegmentJob ToJob(const v1::Job& wire) {
  SegmentJob job;
  job.id = wire.id();
  job.expression = wire.expression();
  job.url = wire.url();
  job.format = ToFormat(wire.format());
  job.stage = ToStage(wire.stage());
  job.ids = wire.ids();
  job.max_ids = wire.max_ids();
  job.bytes = wire.bytes();
  job.ids_per_second = wire.ids_per_second();
  if (wire.has_remaining_ms()) job.remaining = std::chrono::milliseconds(wire.remaining_ms());
  job.created = ToTime(wire.created_at_ms());
  if (wire.started_at_ms() != 0) job.started = ToTime(wire.started_at_ms());
  if (wire.finished_at_ms() != 0) job.finished = ToTime(wire.finished_at_ms());
  if (job.stage == SegmentJob::Stage::kCancelled) {
    job.failure = absl::CancelledError(wire.failure());
  } else if (job.stage == SegmentJob::Stage::kFailed) {
    // absl numbers its codes as google.rpc.Code does; 0 would be no failure.
    const auto code = static_cast<absl::StatusCode>(wire.failure_code());
    job.failure =
        absl::Status(code == absl::StatusCode::kOk ? absl::StatusCode::kUnknown : code, wire.failure());
  }
  job.sha256 = wire.sha256();
  job.progress = ToProgress(wire.progress());
  return job;
}

SegmentTimelineSummary ToSummary(const v1::TimelineResponse::Summary& wire) {
  SegmentTimelineSummary summary{
      .values = wire.values(),
      .missing = wire.missing(),
      .not_started = wire.not_started(),
      .invalid = wire.invalid(),
      .inverted = wire.inverted(),
      .first_invalid = wire.first_invalid(),
      .intervals = wire.intervals(),
      .empty = wire.empty(),
      .open_ends = wire.open_ends(),
      .always = wire.always(),
      .first_us = std::nullopt,
      .last_us = std::nullopt,
      .numbers = wire.numbers(),
      .complete = wire.complete(),
  };
  if (wire.has_first_us()) summary.first_us = wire.first_us();
  if (wire.has_last_us()) summary.last_us = wire.last_us();
  return summary;
}

SegmentInfo ToInfo(const v1::Segment& segment) {
  return {
      .name = segment.name(),
      .version = segment.version(),
      .min_count = segment.min_count(),
      .max_count = segment.max_count(),
      .recent_changes = segment.recent_changes(),
      .bytes = segment.bytes(),
      .files = segment.files(),
      .created = ToTime(segment.created_at_ms()),
      .changed = ToTime(segment.changed_at_ms()),
  };
}

}  // namespace thermocline::conversion
