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
