#include "client/cli/segment_plan.h"

#include <vector>

#include "fmt/format.h"

#include "client/cli/entry_json.h"
#include "client/cli/segment_text.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

using nlohmann::ordered_json;
using Kind = SegmentPlanStep::Kind;
using Lines = std::vector<std::vector<std::string>>;

constexpr size_t kShownNameBytes = 300;

const char* Name(Kind kind) {
  switch (kind) {
    case Kind::kUnion:
      return "union";
    case Kind::kIntersection:
      return "intersection";
    case Kind::kDifference:
      return "difference";
    case Kind::kFile:
      return "file";
    case Kind::kRecent:
      return "recent";
    case Kind::kEmpty:
      return "empty";
    case Kind::kKeptResult:
      return "kept_result";
    case Kind::kPart:
      return "part";
    case Kind::kSource:
      return "source";
    case Kind::kUnknown:
      break;
  }
  return "unknown";
}

std::string Label(const SegmentPlanStep& step) {
  switch (step.kind) {
    case Kind::kFile:
      return FormatText(step.segment, kShownNameBytes) + ", file";
    case Kind::kRecent:
      return FormatText(step.segment, kShownNameBytes) + ", recent changes";
    case Kind::kEmpty:
      return "nothing";
    case Kind::kKeptResult:
      return "kept result";
    case Kind::kPart:
      return "part, written first";
    case Kind::kSource:
      return FormatText(step.segment, kShownNameBytes) + ", fetched first";
    default:
      return Name(step.kind);
  }
}

std::string Ids(const SegmentPlanStep& step) {
  if (step.exact_count.has_value()) return FormatCount(*step.exact_count);
  if (step.min_count == step.max_count) return FormatCount(step.min_count);
  return fmt::format("~{} ({})", FormatCount(step.estimated_count),
                     FormatBounds(step.min_count, step.max_count));
}

// `first` goes before the step's own name, `rest` before those of its inputs.
void Draw(const SegmentPlanStep& step, bool executed, const std::string& first, const std::string& rest,
          Lines& lines) {
  std::string blocks;
  std::string bytes;
  if (step.blocks > 0) {
    blocks = FormatCount(step.blocks);
    bytes = FormatBytes(step.bytes);
    if (executed) {
      blocks = FormatCount(step.blocks_read) + " of " + blocks;
      bytes = FormatBytes(step.bytes_read) + " of " + bytes;
    }
  }
  lines.push_back({first + Label(step), Ids(step), blocks, bytes,
                   step.memory_bytes > 0 ? FormatBytes(step.memory_bytes) : ""});
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    const bool last = i + 1 == step.inputs.size();
    Draw(step.inputs[i], executed, rest + (last ? "└─ " : "├─ "), rest + (last ? "   " : "│  "), lines);
  }
}

ordered_json ToJson(const SegmentPlanStep& step, bool executed) {
  ordered_json object;
  object["kind"] = Name(step.kind);
  if (!step.segment.empty()) PutBytes(object, "segment", step.segment);
  if (step.kind == Kind::kFile) PutBytes(object, "object", step.object);
  object["min_count"] = step.min_count;
  object["max_count"] = step.max_count;
  object["estimated_count"] = step.estimated_count;
  if (step.kind == Kind::kFile) {
    object["blocks"] = step.blocks;
    object["bytes"] = step.bytes;
  }
  object["memory_bytes"] = step.memory_bytes;
  if (step.exact_count.has_value()) object["exact_count"] = *step.exact_count;
  if (executed) {
    object["blocks_read"] = step.blocks_read;
    object["bytes_read"] = step.bytes_read;
  }
  if (!step.inputs.empty()) {
    ordered_json& inputs = object["inputs"] = ordered_json::array();
    for (const SegmentPlanStep& input : step.inputs) inputs.push_back(ToJson(input, executed));
  }
  return object;
}

}  // namespace

std::string DrawPlan(const SegmentPlan& plan) {
  const bool executed = plan.execution.has_value();
  Lines lines = {
      {"step", "ids", executed ? "blocks read" : "blocks", executed ? "bytes read" : "bytes", "memory"}};
  Draw(plan.root, executed, "", "", lines);
  return Table(lines, {false, false, true, true, true});
}

ordered_json ToJson(const SegmentPlan& plan) {
  ordered_json object;
  PutBytes(object, "normalized", plan.normalized);
  object["plan"] = ToJson(plan.root, plan.execution.has_value());
  object["memory_bytes"] = plan.memory_bytes;
  object["kept_result"] = plan.kept_result;
  if (plan.execution.has_value()) object["execution"] = ToJson(*plan.execution);
  return object;
}

}  // namespace thermocline::cli
