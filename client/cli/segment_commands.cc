#include "client/cli/segment_commands.h"

#include <chrono>

#include "fmt/format.h"

#include "client/cli/entry_json.h"
#include "client/cli/segment_plan.h"
#include "client/cli/segment_text.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

using nlohmann::ordered_json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kShownNameBytes = 300;

milliseconds Since(steady_clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
}

ExitCode NoSuchSegment(const std::string& name, Context& context) {
  context.io.err << "not found: " << FormatText(name, kShownNameBytes) << "\n";
  return kNo;
}

}  // namespace

ExitCode Execute(const SegmentCommand& command, Context& context) {
  return std::visit([&](const auto& words) { return Execute(words, context); }, command);
}

ExitCode Execute(const SegmentCountCommand& command, Context& context) {
  const auto begin = steady_clock::now();
  const absl::StatusOr<SegmentCount> count =
      context.client.segments().Count(command.expression, command.options);
  if (!count.ok()) return FailCall(count.status(), context.io);
  if (context.json) {
    context.io.out << ordered_json{{"count", count->count}, {"execution", ToJson(count->progress)}}.dump()
                   << "\n";
    return kOk;
  }
  // The number alone, so that a script can use it.
  context.io.out << count->count << "\n";
  context.io.err << QuerySummary(count->count, Since(begin), count->progress) << "\n";
  return kOk;
}

ExitCode Execute(const SegmentExplainCommand& command, Context& context) {
  const auto begin = steady_clock::now();
  const absl::StatusOr<SegmentPlan> plan =
      context.client.segments().Explain(command.expression, command.options);
  if (!plan.ok()) return FailCall(plan.status(), context.io);
  std::ostream& out = context.io.out;
  if (context.json) {
    out << ToJson(*plan).dump() << "\n";
    return kOk;
  }
  out << plan->normalized << "\n\n" << DrawPlan(*plan) << "\n";
  if (plan->execution.has_value()) {
    const uint64_t ids = plan->root.exact_count.value_or(plan->execution->ids);
    out << QuerySummary(ids, Since(begin), *plan->execution) << "\n";
  } else if (plan->kept_result) {
    out << "the result is kept from an equal query\n";
  }
  out << fmt::format("takes {} of memory\n", FormatBytes(plan->memory_bytes));
  return kOk;
}

ExitCode Execute(const SegmentStoreCommand& command, Context& context) {
  const auto begin = steady_clock::now();
  const absl::StatusOr<SegmentInfo> stored =
      context.client.segments().Store(command.segment, command.expression, command.options);
  if (!stored.ok()) return FailCall(stored.status(), context.io);
  if (context.json) {
    context.io.out << ToJson(*stored).dump() << "\n";
  } else {
    context.io.out << fmt::format("{}: {} ids stored in {}\n", FormatText(stored->name, kShownNameBytes),
                                  FormatBounds(stored->min_count, stored->max_count),
                                  FormatDuration(Since(begin)));
  }
  return kOk;
}

ExitCode Execute(const SegmentListCommand& command, Context& context) {
  const absl::StatusOr<std::vector<SegmentInfo>> segments = context.client.segments().List(command.prefix);
  if (!segments.ok()) return FailCall(segments.status(), context.io);
  if (context.json) {
    for (const SegmentInfo& segment : *segments) context.io.out << ToJson(segment).dump() << "\n";
  } else if (segments->empty()) {
    context.io.err << "there are no segments" << (command.prefix.empty() ? "" : " whose names begin so")
                   << "\n";
  } else {
    context.io.out << SegmentTable(*segments);
  }
  return kOk;
}

ExitCode Execute(const SegmentDescribeCommand& command, Context& context) {
  const absl::StatusOr<std::optional<SegmentInfo>> segment =
      context.client.segments().Describe(command.segment);
  if (!segment.ok()) return FailCall(segment.status(), context.io);
  if (!segment->has_value()) return NoSuchSegment(command.segment, context);
  context.io.out << (context.json ? ToJson(**segment).dump() + "\n" : SegmentText(**segment));
  return kOk;
}

ExitCode Execute(const SegmentDropCommand& command, Context& context) {
  ExitCode code = kOk;
  for (const std::string& name : command.segments) {
    const absl::StatusOr<bool> dropped = context.client.segments().Drop(name);
    if (!dropped.ok()) return FailCall(dropped.status(), context.io);
    if (context.json) {
      ordered_json object;
      PutBytes(object, "segment", name);
      object["dropped"] = *dropped;
      context.io.out << object.dump() << "\n";
    } else if (*dropped) {
      context.io.out << "dropped " << FormatText(name, kShownNameBytes) << "\n";
    } else {
      NoSuchSegment(name, context);
    }
    if (!*dropped) code = kNo;
  }
  return code;
}

}  // namespace thermocline::cli
