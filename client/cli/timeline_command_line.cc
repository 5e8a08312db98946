#include "client/cli/timeline_command_line.h"

#include <memory>
#include <optional>

#include "CLI/CLI.hpp"

#include "client/cli/options.h"
#include "client/cli/record_format.h"
#include "client/cli/sort_command_line.h"

namespace thermocline::cli {
namespace {

constexpr const char* kTimelineFooter = R"(
An interval runs from its start on until just before its end. One without an end runs for ever; one without a start has
not begun, and counts for nothing ("-infinity" as a start has always been running). An empty one (start = end) starts
and ends, but never runs. One that ends before it starts is a mistake: the command stops and names its line, or with
--skip-invalid leaves it out, counts it, and ends with exit code 4.

Times are texts such as 2025-07-01, 2025-07-01T12:30:00Z or 2025-07-01 12:30:00.25+02 (UTC where there is no zone), or
numbers since 1970 in --unit. They are printed as texts unless all that were read are numbers.

Without --every there is a line for each moment at which the number changes: at, running. With it, a line for each
stretch of that length since 1970 in UTC: begin, least, most, mean (over its time), started, ended. If some have always
been running, the first line has the time -infinity.

Intervals that are values of the server: thermocline segment timeline.

Examples:
  thermocline timeline jobs.ndjson --start start_at --end end_at > running.csv
  thermocline timeline jobs.csv --start from --end to --every 1h --svg running.svg
  psql -c "copy (select start_at, end_at from jobs) to stdout csv header" |
    thermocline timeline - --format csv --start start_at --end end_at --every 1d
)";

void FinishTimeline(TimelineCommand& command, const std::optional<storage::RecordFormat>& format) {
  command.shape.format = format.value_or(RecordFormatOf(command.input));
  if (command.shape.format == storage::RecordFormat::kLines) {
    throw CLI::ValidationError("FILE", "its rows need fields; name it .ndjson or .csv, or give --format");
  }
  if (command.memory_bytes < kProcessBytes + 2 * storage::kMinSortBytes)
    throw CLI::ValidationError("--memory", "a timeline needs 56MiB at least");
}

}  // namespace

void AddTimelineFields(CLI::App* app, std::string& start, std::string& end, storage::Moment& unit,
                       const std::string& what) {
  app->add_option("--start", start, "The " + what + " with the start")
      ->type_name("FIELD")
      ->default_val("start_at");
  app->add_option("--end", end, "The " + what + " with the end")->type_name("FIELD")->default_val("end_at");
  AddChoice<storage::Moment>(app, "--unit", {{"s", 1'000'000}, {"ms", 1000}, {"us", 1}}, unit,
                             "Of times that are numbers (default ms)");
}

void AddTimelineStyle(CLI::App* app, std::chrono::milliseconds& every, TimelineStyle& style,
                      const std::string& title) {
  using Format = TimelineStyle::Format;
  AddDuration(app, "--every", every, "A line for each stretch of this length, as 15m, 1h or 1d");
  AddChoice<Format>(app, "--output", {{"csv", Format::kCsv}, {"ndjson", Format::kNdjson}}, style.format,
                    "How the lines are written to standard output (default csv)");
  app->add_option("--svg", style.picture, "Also draw it to this file")->type_name("FILE");
  app->add_option("--title", style.title, "The picture's (default: " + title + ")")->type_name("TEXT");
}

void AddTimelineCommand(CLI::App& app, TimelineCommand& command) {
  CLI::App* timeline =
      app.add_subcommand("timeline", "How many intervals run at the same time, over time (no server)");
  timeline->footer(kTimelineFooter);
  auto format = std::make_shared<std::optional<storage::RecordFormat>>();
  timeline->add_option("FILE", command.input, "Rows, .ndjson or .csv; - reads standard input")->required();
  AddTimelineFields(timeline, command.shape.start, command.shape.end, command.shape.unit, "field or column");
  AddRecordFormat(timeline, *format);
  AddTimelineStyle(timeline, command.every, command.style, "the file's name");
  timeline->add_flag("--skip-invalid", command.shape.skip_invalid,
                     "Leave out and count rows that have no interval (default: stop at the first)");
  AddMemory(timeline, command.memory_bytes, "256MiB");
  timeline
      ->add_option("--temporary", command.temporary,
                   "Where goes what does not fit in memory (default: TMPDIR or /tmp)")
      ->type_name("DIRECTORY");
  timeline->callback([&command, format] { FinishTimeline(command, *format); });
}

}  // namespace thermocline::cli
