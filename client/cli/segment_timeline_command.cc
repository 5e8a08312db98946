#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fmt/format.h"

#include "client/cli/local_work.h"
#include "client/cli/progress.h"
#include "client/cli/segment_commands.h"
#include "client/cli/segment_text.h"
#include "client/cli/text.h"
#include "client/cli/timeline_output.h"

namespace thermocline::cli {
namespace {

constexpr size_t kShownInvalidBytes = 300;

using std::chrono::milliseconds;
using std::chrono::steady_clock;

storage::TimelineChange ToRow(const SegmentTimelineChange& row) {
  return {.at = row.at_us, .running = row.running, .started = row.started, .ended = row.ended};
}

storage::TimelineBucket ToRow(const SegmentTimelineBucket& row) {
  return {.begin = row.begin_us,
          .least = row.least,
          .most = row.most,
          .mean = row.mean,
          .started = row.started,
          .ended = row.ended};
}

template <class Row>
void WriteRows(SegmentTimelineReader& reader, TimelineOutput& output) {
  std::vector<decltype(ToRow(Row()))> rows;
  for (std::span<const Row> got; output.wanted() && reader.Next(got);) {
    rows.clear();
    for (const Row& row : got) rows.push_back(ToRow(row));
    output.Add(rows);
  }
}

bool ReadValues(SegmentTimelineReader& reader, Io& io) {
  const auto begin = steady_clock::now();
  const Progress display(io.err, io.err_is_terminal, [&reader, begin] {
    const auto elapsed = std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
    return QueryProgressLine(reader.progress(), elapsed);
  });
  return reader.ReadValues();
}

void PrintSummary(const SegmentTimelineSummary& summary, Io& io) {
  if (summary.invalid > 0) io.err << FormatText(summary.first_invalid, kShownInvalidBytes) << "\n";
  std::string line =
      fmt::format("{} intervals of {} values", FormatCount(summary.intervals), FormatCount(summary.values));
  const auto add = [&](uint64_t count, const char* what) {
    if (count > 0) line += fmt::format(", {} {}", FormatCount(count), what);
  };
  add(summary.open_ends, "without an end");
  add(summary.empty, "empty");
  add(summary.not_started, "not started");
  add(summary.invalid, "invalid left out");
  add(summary.inverted, "of them inverted");
  add(summary.missing, "ids without a value");
  io.err << line << "\n";
}

}  // namespace

ExitCode Execute(const SegmentTimelineCommand& command, Context& context) {
  Io& io = context.io;
  SegmentTimelineOptions options = command.options;
  options.unit = std::chrono::microseconds(command.unit);
  options.every = command.every;
  const auto reader = context.client.segments().Timeline(command.expression, command.key_pattern, options);
  if (!ReadValues(*reader, io)) return FailCall(reader->status(), io);
  const SegmentTimelineSummary summary = reader->summary();
  TimelineStyle style = command.style;
  if (style.title.empty()) style.title = command.expression;
  if (context.json) style.format = TimelineStyle::Format::kNdjson;
  const bool buckets = options.every.count() > 0;
  S3Access s3(command.s3);
  TimelineOutput output(style,
                        {.first = summary.first_us,
                         .last = summary.last_us,
                         .running = summary.always,
                         .numbers = summary.numbers,
                         .unit = command.unit,
                         .buckets = buckets},
                        s3, io);
  if (buckets) {
    WriteRows<SegmentTimelineBucket>(*reader, output);
  } else {
    WriteRows<SegmentTimelineChange>(*reader, output);
  }
  io.out.flush();
  if (!reader->status().ok()) return FailCall(reader->status(), io);
  if (absl::Status status = output.Finish(); !status.ok()) return FailFile(status, io);
  PrintSummary(summary, io);
  return summary.invalid > 0 ? kRejected : kOk;
}

}  // namespace thermocline::cli
