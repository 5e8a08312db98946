#include "client/cli/timeline_command_line.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"

#include "client/cli/options.h"
#include "client/cli/record_format.h"
#include "client/cli/s3_access.h"
#include "client/cli/sort_command_line.h"
#include "storage/s3_url.h"

namespace thermocline::cli {
namespace {

constexpr const char* kTimelineFooter = R"(
An interval runs from its start on until just before its end. One without an end runs for ever; one without a start has
not begun, and counts for nothing ("-infinity" as a start has always been running). An empty one (start = end) starts
and ends, but never runs. One that ends before it starts is a mistake: the command stops and names its line, or with
--skip-invalid leaves it out, counts it, and ends with exit code 4.

Times are texts such as 2025-07-01, 2025-07-01T12:30:00Z or 2025-07-01 12:30:00.25+02 (UTC where there is no zone), or
numbers since 1970 in --unit, and as PostgreSQL and MariaDB print theirs. They are printed as texts unless all that were read are numbers.

Without --every there is a line for each moment at which the number changes: at, running. With it, a line for each
stretch of that length since 1970 in UTC: begin, least, most, mean (over its time), started, ended. If some have always
been running, the first line has the time -infinity.

A database is --from with --query; NULL is as a missing field. Passwords rather go into PGPASSWORD, ~/.pgpass or
MYSQL_PWD than into the URL, which others can see; thermocline help segment load says more about URLs.

Of --memory, 40 MiB are for the program itself, and where S3 is used a quarter of the rest (24 MiB to 104 MiB) for
what it reads ahead and uploads.

Intervals that are values of the server: thermocline segment timeline.

Examples:
  thermocline timeline jobs.ndjson --start start_at --end end_at > running.csv
  thermocline timeline jobs.csv --start from --end to --every 1h --svg running.svg
  thermocline timeline s3://lake/jobs.ndjson --s3-endpoint http://127.0.0.1:9000 --every 1d
  thermocline timeline --from postgresql://reader@db.example/shop --query 'select start_at, end_at from jobs' \
      --start start_at --end end_at --every 1d
)";

// The words of a query, before they belong together.
struct QueryWords {
  std::optional<storage::RecordFormat> format;
  std::vector<std::string> parameters;
  std::chrono::milliseconds longest_silence = storage::SourceLocation().idle_timeout;
};

void FinishQuery(TimelineCommand& command, const QueryWords& words) {
  storage::SourceLocation& database = command.database;
  if (database.url.empty()) {
    if (!database.query.empty())
      throw CLI::ValidationError("--query", "it needs a database: --from postgresql://...");
    if (!words.parameters.empty()) throw CLI::ValidationError("--param", "it needs a --query");
    if (command.input.empty()) throw CLI::RequiredError("FILE or --from");
    return;
  }
  if (!storage::IsDatabaseUrl(database.url))
    throw CLI::ValidationError("--from",
                               "it is postgresql://... or mysql://...; a file stands without --from");
  if (!command.input.empty()) throw CLI::ValidationError("--from", "it does not go with a FILE");
  if (words.format.has_value()) throw CLI::ValidationError("--format", "a query's rows have none");
  if (database.query.empty()) throw CLI::RequiredError("--query, which says what to ask the database for,");
  database.parameters.assign(words.parameters.begin(), words.parameters.end());
  database.idle_timeout = words.longest_silence;
}

void FinishTimeline(TimelineCommand& command, const QueryWords& words) {
  FinishQuery(command, words);
  command.shape.format = words.format.value_or(RecordFormatOf(command.input));
  if (command.database.url.empty() && command.shape.format == storage::RecordFormat::kLines) {
    throw CLI::ValidationError("FILE", "its rows need fields; name it .ndjson or .csv, or give --format");
  }
  const bool s3 = UsesS3(command);
  if (command.memory_bytes < kProcessBytes + 2 * storage::kMinSortBytes + (s3 ? kMinS3Bytes : 0)) {
    throw CLI::ValidationError(
        "--memory", s3 ? "a timeline with S3 needs 80MiB at least" : "a timeline needs 56MiB at least");
  }
}

void AddQuery(CLI::App* timeline, TimelineCommand& command, QueryWords& words) {
  timeline
      ->add_option("--from", command.database.url, "Read the rows of a database's query instead of a file")
      ->type_name("URL");
  timeline
      ->add_option("--query", command.database.query,
                   "What to ask it for: 'select start_at, end_at from jobs'")
      ->type_name("SQL");
  AddRepeated(
      timeline, "--param", words.parameters,
      "A value for $1, $2, ... (PostgreSQL) or each ? (MariaDB) of the query; --param=-5 if it begins "
      "with a minus")
      ->type_name("VALUE");
  AddDuration(timeline, "--longest-silence", words.longest_silence,
              "Give up when the database has sent nothing for so long (default 10m)");
}

}  // namespace

bool UsesS3(const TimelineCommand& command) {
  return storage::IsS3Url(command.input) || storage::IsS3Url(command.style.picture) ||
         storage::IsS3Url(command.temporary);
}

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
  app->add_option("--svg", style.picture, "Also draw it to this file or object")->type_name("FILE");
  app->add_option("--title", style.title, "The picture's (default: " + title + ")")->type_name("TEXT");
}

void AddTimelineCommand(CLI::App& app, TimelineCommand& command) {
  CLI::App* timeline =
      app.add_subcommand("timeline", "How many intervals run at the same time, over time (no server)");
  timeline->footer(kTimelineFooter);
  auto words = std::make_shared<QueryWords>();
  timeline->add_option("FILE", command.input,
                       "Rows, .ndjson or .csv, or s3://bucket/key; - reads standard input");
  AddQuery(timeline, command, *words);
  AddTimelineFields(timeline, command.shape.start, command.shape.end, command.shape.unit, "field or column");
  AddRecordFormat(timeline, words->format);
  AddTimelineStyle(timeline, command.every, command.style, "the file's name, or the database's");
  timeline->add_flag("--skip-invalid", command.shape.skip_invalid,
                     "Leave out and count rows that have no interval (default: stop at the first)");
  AddMemory(timeline, command.memory_bytes, "256MiB");
  timeline
      ->add_option("--temporary", command.temporary,
                   "Where goes what does not fit in memory: a directory (default: TMPDIR or /tmp) or "
                   "s3://bucket/prefix")
      ->type_name("PLACE");
  AddS3(timeline, command.s3);
  timeline->callback([&command, words] { FinishTimeline(command, *words); });
}

}  // namespace thermocline::cli
