#include "client/cli/segment_command_line.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "CLI/CLI.hpp"
#include "fmt/format.h"

#include "client/cli/options.h"
#include "client/cli/s3_access.h"
#include "client/cli/timeline_command_line.h"
#include "storage/id_source.h"

namespace thermocline::cli {
namespace {

constexpr const char* kSegmentFooter = R"(
A segment is a named set of ids: whole numbers from 0 to 18446744073709551615. Expressions combine segments:
  'a & b'        ids in both           'a | b'        ids in either
  'a - b'        ids in a but not b    '(a | b) & c'  parentheses
  'bought:*'     all segments whose names begin with "bought:"
  '"New York"'   quotes, for a name with spaces or other special characters
& binds tighter than | and -; a minus stands between spaces. Put expressions in single quotes, for the shell.

A first session:
  thermocline segment add city:ny 1 2 3
  thermocline segment load bought:2025 buyers.csv --field user_id
  thermocline segment query 'city:ny & bought:2025'

See thermocline help segment query, and so on.
)";

constexpr const char* kChangeFooter = R"(
Ids may come in any order and more than once; sorted ones are fastest. A file has one id a line, unless its name
ends with .csv, .ndjson, .jsonl or .json, or --format says so. All of the ids take effect at once, or none.
Several files and databases are read in parallel; if one fails, nothing changes. A file may be an object of S3,
s3://bucket/key, read in ranges with 32 MiB of memory; a change of it meanwhile is noticed, and nothing changes.

A database is a --from with its --query, whose ids are its only column, or the one that --field names:
  postgresql://user@host:5432/database   with any setting of libpq: ?sslmode=verify-full&...
  mysql://user@host:3306/database        MariaDB or MySQL; ?socket=PATH, ?ssl-ca=FILE, ?ssl-cert=, ?ssl-key=,
                                         ?ssl-mode=required|verify (without one of these there is no TLS)
Several databases have a --query each, in their order, or all the same one; one database may have several.
Queries run read-only, and their results are never held: neither here nor there more than some rows wait.
The password may be in the URL, but others can see that in the list of processes: rather set PGPASSWORD, or
write ~/.pgpass, for PostgreSQL, and MYSQL_PWD for MariaDB.

Examples:
)";

constexpr const char* kIdFooter = R"(
With --json each line is {"id":...}. Ids are numbers there, and some programs, JavaScript among them, do not read
numbers above 9007199254740991 exactly.
)";

// Adds to what the help of every command ends with.
void Extend(CLI::App* app, const std::string& footer) { app->footer(app->get_footer() + footer); }

// Chooses the command when its words were parsed; `finish` checks what only makes sense together.
template <class Kind, class Finish>
void OnParsed(CLI::App* app, SegmentCommand& command, std::shared_ptr<Kind> words, Finish finish) {
  app->callback([&command, words, finish] {
    finish(*words);
    command = *words;
  });
}

template <class Kind>
void OnParsed(CLI::App* app, SegmentCommand& command, std::shared_ptr<Kind> words) {
  OnParsed(app, command, std::move(words), [](Kind&) {});
}

void AddName(CLI::App* app, std::string& name) { app->add_option("NAME", name, "The segment")->required(); }

void AddExpression(CLI::App* app, std::string& expression) {
  app->add_option("EXPR", expression, "Which ids; see thermocline help segment")->required();
}

void AddKeyPattern(CLI::App* app, std::string& pattern) {
  app->add_option("--key", pattern, "The key of an id, with {id} where it stands: 'user:{id}'")
      ->type_name("PATTERN")
      ->required();
}

template <class Words>
void CheckKeyPattern(const Words& words) {
  if (words.key_pattern.find("{id}") == std::string::npos)
    throw CLI::ValidationError("--key", "the pattern has no {id} in it; it looks like 'user:{id}'");
}

void AddFresh(CLI::App* app, bool& fresh) {
  app->add_flag("--fresh", fresh, "Compute the result even if one was kept from an equal expression");
}

template <class Options>
void AddRange(CLI::App* app, Options& options) {
  AddNumber(
      app, "--limit", [&options](uint64_t limit) { options.limit = limit; }, "Stop after this many ids")
      ->type_name("COUNT");
  AddNumber(
      app, "--after", [&options](uint64_t id) { options.after = id; }, "Only ids greater than this one")
      ->type_name("ID");
  AddFresh(app, options.fresh);
}

// Where the ids of a change come from, as it is written.
struct ChangeWords {
  SegmentChangeCommand change;
  std::vector<std::string> ids;
  std::vector<std::string> places;  // files and databases
  std::vector<std::string> from;    // more of them
  std::vector<std::string> queries;
  std::vector<std::string> parameters;
  std::optional<IdFormat> format;
  std::string field;
  std::chrono::milliseconds longest_silence = IdInput().longest_silence;
};

// What the change commands have in common.
void AddChange(CLI::App* app, ChangeWords& words) {
  AddRepeated(app, "--from", words.from,
              "Read the ids of this file or object (- reads standard input), or of a database")
      ->type_name("FILE|URL");
  AddRepeated(app, "--query", words.queries, "What to ask the database for: 'select id from users'")
      ->type_name("SQL");
  AddRepeated(
      app, "--param", words.parameters,
      "A value for $1, $2, ... (PostgreSQL) or each ? (MariaDB) of every query; --param=-5 if it begins "
      "with a minus")
      ->type_name("VALUE");
  AddDuration(app, "--longest-silence", words.longest_silence,
              "Give up when a database has sent nothing for so long (default 10m)");
  AddChoice<std::optional<IdFormat>>(app, "--format",
                                     {{"lines", IdFormat::kLines},
                                      {"ndjson", IdFormat::kNdjson},
                                      {"json", IdFormat::kJson},
                                      {"csv", IdFormat::kCsv}},
                                     words.format, "Instead of what the files' names tell");
  app->add_option("--field", words.field, "The field or column that is the id")
      ->type_name("NAME")
      ->default_val("id");
  AddChoice<bool>(app, "--on-error", {{"skip", false}, {"stop", true}}, words.change.stop_on_error,
                  "At what is no id: skip it and report it (default), or stop and change nothing");
  app->add_flag("--count-changed", words.change.options.count_changed,
                "Also tell how many ids are new to the segment, or were in it (takes longer)");
  AddS3(app, words.change.s3);
}

// Gives each database its query, or several.
void AddDatabases(const std::vector<IdInput>& databases, ChangeWords& words) {
  const size_t queries = words.queries.size();
  if (databases.empty()) {
    if (queries > 0) throw CLI::ValidationError("--query", "it needs a database: --from postgresql://...");
    if (!words.parameters.empty()) throw CLI::ValidationError("--param", "it needs a --query");
    return;
  }
  if (queries == 0) throw CLI::RequiredError("--query, which says what to ask the database for,");
  if (queries != 1 && databases.size() != 1 && queries != databases.size()) {
    throw CLI::ValidationError(
        "--query",
        fmt::format("{} queries for {} databases; give one for each, in their order, or a single one "
                    "for all",
                    queries, databases.size()));
  }
  for (size_t i = 0; i < std::max(queries, databases.size()); ++i) {
    IdInput input = databases[databases.size() == 1 ? 0 : i];
    input.query = words.queries[queries == 1 ? 0 : i];
    input.parameters.assign(words.parameters.begin(), words.parameters.end());
    words.change.inputs.push_back(std::move(input));
  }
}

void FinishInputs(ChangeWords& words) {
  words.places.insert(words.places.end(), words.from.begin(), words.from.end());
  if (std::count(words.places.begin(), words.places.end(), "-") > 1)
    throw CLI::ValidationError("-", "standard input can be read only once");
  std::vector<IdInput> databases;
  for (const std::string& place : words.places) {
    IdInput input{.place = place,
                  .shape = {.format = words.format.value_or(IdFormatOf(place)), .field = words.field},
                  .longest_silence = words.longest_silence};
    (IsDatabase(input) ? databases : words.change.inputs).push_back(std::move(input));
  }
  AddDatabases(databases, words);
}

void FinishIds(ChangeWords& words) {
  for (const std::string& text : words.ids) {
    const std::optional<uint64_t> id = storage::ReadId(text);
    if (!id.has_value()) {
      throw CLI::ValidationError(
          fmt::format("\"{}\" is not an id: that is a whole number from 0 to 18446744073709551615", text));
    }
    words.change.ids.push_back(*id);
  }
}

void OnChangeParsed(CLI::App* app, SegmentCommand& command, std::shared_ptr<ChangeWords> words,
                    const char* needed) {
  app->callback([&command, words = std::move(words), needed] {
    if (words->ids.empty() && words->places.empty() && words->from.empty()) throw CLI::RequiredError(needed);
    FinishIds(*words);
    FinishInputs(*words);
    command = words->change;
  });
}

void AddOrRemove(CLI::App* segment, SegmentCommand& command, SegmentChangeCommand::Kind kind,
                 const char* name, const char* description, const char* examples) {
  CLI::App* app = segment->add_subcommand(name, description);
  Extend(app, std::string(kChangeFooter) + examples);
  auto words = std::make_shared<ChangeWords>();
  words->change.kind = kind;
  AddName(app, words->change.segment);
  app->add_option("IDS", words->ids, "The ids");
  AddChange(app, *words);
  OnChangeParsed(app, command, words, "IDS or --from");
}

void AddLoad(CLI::App* segment, SegmentCommand& command) {
  CLI::App* app =
      segment->add_subcommand("load", "Replace a segment by the ids of files and databases, or make it");
  Extend(
      app,
      std::string(kChangeFooter) +
          "  thermocline segment load bought:2025 buyers.txt more-buyers.txt\n"
          "  thermocline segment load city:ny users.ndjson --field user_id\n"
          "  thermocline segment load city:ny s3://lake/users.ndjson --field user_id --s3-region eu-west-1\n"
          "  thermocline segment load city:ny --from postgresql://reader@db.example/shop \\\n"
          "      --query 'select id from users where city = $1' --param 'New York'\n"
          "  thermocline segment load users --from mysql://reader@db.example/shop \\\n"
          "      --query 'select id from users where id % 2 = 0' --query 'select id from users where "
          "id % 2 = 1'\n"
          "  some-program | thermocline segment load users - --append\n");
  auto words = std::make_shared<ChangeWords>();
  words->change.kind = SegmentChangeCommand::Kind::kLoad;
  AddName(app, words->change.segment);
  app->add_option("FILE", words->places, "Files of ids, or s3://bucket/key; - reads standard input");
  app->add_flag_callback(
      "--append", [words] { words->change.kind = SegmentChangeCommand::Kind::kAdd; },
      "Add to the segment instead of replacing it");
  AddChange(app, *words);
  OnChangeParsed(app, command, words, "FILE or --from");
}

void AddQuery(CLI::App* segment, SegmentCommand& command) {
  CLI::App* app = segment->add_subcommand("query", "Print the ids of an expression, ascending, one a line");
  Extend(app, std::string(kIdFooter) +
                  "\nExamples:\n"
                  "  thermocline segment query '(city:ny & bought:2025) - bought:2026' > ids.txt\n"
                  "  thermocline segment query 'bought:*' --limit 100 --after 7000000\n"
                  "  thermocline segment query city:ny | head\n");
  auto words = std::make_shared<SegmentQueryCommand>();
  AddExpression(app, words->expression);
  AddRange(app, words->options);
  OnParsed(app, command, words);
}

void AddValues(CLI::App* segment, SegmentCommand& command) {
  CLI::App* app = segment->add_subcommand(
      "values", "Print the ids of an expression with the values that they have as keys");
  Extend(app,
         "\nEach line is an id, a tab and the beginning of the value, as `scan` prints it. With --json each "
         "line is\n"
         "an object with the whole value, and ids are numbers, which JavaScript reads exactly up to\n"
         "9007199254740991.\n"
         "\nExamples:\n"
         "  thermocline segment values 'city:ny & bought:2025' --key 'user:{id}'\n"
         "  thermocline segment values city:ny --key 'user:{id}' --only-found --json > users.ndjson\n");
  auto words = std::make_shared<SegmentValuesCommand>();
  AddExpression(app, words->expression);
  AddKeyPattern(app, words->key_pattern);
  app->add_flag("--only-found", words->only_found, "Leave out ids whose key does not exist");
  AddRange(app, words->options);
  OnParsed(app, command, words, CheckKeyPattern<SegmentValuesCommand>);
}

constexpr const char* kTimelineFooter = R"(
Each value is a JSON object with the start and the end of an interval, which runs from its start on until just before
its end. One without an end runs for ever; one without a start has not begun, and counts for nothing ("-infinity" as a
start has always been running). An empty one (start = end) starts and ends, but never runs. One that ends before it
starts, and a value that cannot be read, are left out and counted, and the exit code is 4. Ids without a value are
counted.

Times, lines and pictures are as of thermocline timeline, which does the same for files; see thermocline help timeline.

Examples:
  thermocline segment timeline 'city:ny & vip' --key 'session:{id}' --start start_at --end end_at --every 1h
  thermocline segment timeline sessions --key 'session:{id}' --svg sessions.svg > sessions.csv
)";

void AddTimeline(CLI::App* segment, SegmentCommand& command) {
  CLI::App* app = segment->add_subcommand(
      "timeline", "How many intervals run at the same time, of those that ids have as values");
  app->footer(kTimelineFooter);
  auto words = std::make_shared<SegmentTimelineCommand>();
  AddExpression(app, words->expression);
  AddKeyPattern(app, words->key_pattern);
  AddTimelineFields(app, words->options.start, words->options.end, words->unit, "field");
  AddTimelineStyle(app, words->every, words->style, "the expression");
  AddS3(app, words->s3);
  AddRange(app, words->options);
  OnParsed(app, command, words, CheckKeyPattern<SegmentTimelineCommand>);
}

void AddReaders(CLI::App* segment, SegmentCommand& command) {
  CLI::App* count = segment->add_subcommand("count", "Print how many ids an expression has");
  Extend(count, "\nExample:\n  thermocline segment count 'city:ny - bought:*'\n");
  auto count_words = std::make_shared<SegmentCountCommand>();
  AddExpression(count, count_words->expression);
  AddFresh(count, count_words->options.fresh);
  OnParsed(count, command, count_words);

  CLI::App* explain = segment->add_subcommand("explain", "Show how an expression is computed, step by step");
  Extend(explain,
         "\nCounts with a ~ are estimates.\n"
         "\nExample:\n  thermocline segment explain 'city:ny & bought:2025' --execute\n");
  auto explain_words = std::make_shared<SegmentExplainCommand>();
  AddExpression(explain, explain_words->expression);
  explain->add_flag("--execute", explain_words->options.execute,
                    "Also count the ids, and tell what each step took");
  OnParsed(explain, command, explain_words);

  CLI::App* list = segment->add_subcommand("list", "List segments in the order of their names");
  Extend(list, "\nExample:\n  thermocline segment list bought:\n");
  auto list_words = std::make_shared<SegmentListCommand>();
  list->add_option("PREFIX", list_words->prefix, "Only those whose names begin so");
  OnParsed(list, command, list_words);

  CLI::App* describe = segment->add_subcommand("describe", "Show one segment; exit code 1 if there is none");
  auto describe_words = std::make_shared<SegmentDescribeCommand>();
  AddName(describe, describe_words->segment);
  OnParsed(describe, command, describe_words);
}

void AddStoreAndDrop(CLI::App* segment, SegmentCommand& command) {
  CLI::App* store =
      segment->add_subcommand("store", "Make or replace a segment with the ids of an expression");
  Extend(store,
         "\nThe name comes first, as in NAME = EXPR. The expression may name the segment itself.\n"
         "\nExample:\n  thermocline segment store lost 'bought:2025 - bought:2026'\n");
  auto store_words = std::make_shared<SegmentStoreCommand>();
  store->add_option("NAME", store_words->segment, "The segment that is made or replaced")->required();
  AddExpression(store, store_words->expression);
  AddFresh(store, store_words->options.fresh);
  OnParsed(store, command, store_words);

  CLI::App* drop =
      segment->add_subcommand("drop", "Remove segments; exit code 1 if one of them is not there");
  auto drop_words = std::make_shared<SegmentDropCommand>();
  drop->add_option("NAME", drop_words->segments, "The segments")->required();
  OnParsed(drop, command, drop_words);
}

void AddExport(CLI::App* segment, SegmentCommand& command) {
  CLI::App* app =
      segment->add_subcommand("export", "Have the server write the ids of an expression into an object");
  Extend(app,
         "\nThe URL is file:///folder/name, a file of the server's machine, or s3://bucket/name, below what "
         "the server "
         "was\n"
         "started with (--export-to). Beside it comes URL.manifest.json, with count and checksum.\n"
         "\nThe export is a job of the server: Ctrl-C ends the watching of it, not the job. See thermocline "
         "help jobs.\n"
         "\nExamples:\n"
         "  thermocline segment export 'city:ny & bought:2025' file:///srv/exports/ny.txt\n"
         "  thermocline segment export 'bought:*' s3://lake/buyers.ids --format packed --replace --detach\n");
  auto words = std::make_shared<SegmentExportCommand>();
  AddExpression(app, words->expression);
  app->add_option("URL", words->url, "Where the object is to be")->required();
  AddChoice<SegmentExportFormat>(app, "--format",
                                 {{"lines", SegmentExportFormat::kLines},
                                  {"packed", SegmentExportFormat::kPacked},
                                  {"id-file", SegmentExportFormat::kIdFile}},
                                 words->options.format,
                                 "One id a line (default), 8 bytes for each, or the server's own compressed "
                                 "format");
  app->add_flag("--replace", words->options.replace, "Replace an object that is there already");
  app->add_flag("--detach", words->detach, "Start the job, print its id and leave");
  AddRange(app, words->options);
  OnParsed(app, command, words);
}

}  // namespace

void AddJobCommands(CLI::App& app, SegmentCommand& command) {
  CLI::App* jobs = app.add_subcommand("jobs", "What the server does in the background: list, watch, cancel");
  jobs->require_subcommand(0, 1);
  Extend(jobs,
         "\nJobs are started by thermocline segment export. They go on when the client leaves; the server "
         "forgets "
         "them when\n"
         "it is started anew.\n"
         "\nExamples:\n"
         "  thermocline jobs list\n"
         "  thermocline jobs watch t6a1bq-1\n"
         "  thermocline jobs cancel t6a1bq-1\n");
  CLI::App* list = jobs->add_subcommand("list", "List jobs that run or wait, and the last that have ended");
  auto list_words = std::make_shared<JobListCommand>();
  list->add_flag("--unfinished", list_words->unfinished_only, "Only those that have not ended");
  OnParsed(list, command, list_words);

  CLI::App* watch = jobs->add_subcommand("watch", "Follow a job until it has ended; exit code 3 if it fails");
  auto watch_words = std::make_shared<JobWatchCommand>();
  watch->add_option("ID", watch_words->id, "The job")->required();
  OnParsed(watch, command, watch_words);

  CLI::App* cancel = jobs->add_subcommand("cancel", "End jobs; nothing of them stays");
  auto cancel_words = std::make_shared<JobCancelCommand>();
  cancel->add_option("ID", cancel_words->ids, "The jobs")->required();
  OnParsed(cancel, command, cancel_words);
}

void AddSegmentCommands(CLI::App& app, SegmentCommand& command) {
  CLI::App* segment = app.add_subcommand("segment", "Named sets of ids: load, combine and query them");
  segment->require_subcommand(0, 1);
  AddOrRemove(segment, command, SegmentChangeCommand::Kind::kAdd, "add",
              "Add ids to a segment; it is made if there is none",
              "  thermocline segment add city:ny 17 42\n"
              "  thermocline segment add bought:2025 --from buyers.csv --field user_id\n");
  AddOrRemove(segment, command, SegmentChangeCommand::Kind::kRemove, "remove", "Remove ids from a segment",
              "  thermocline segment remove city:ny 17 42\n"
              "  thermocline segment remove city:ny --from moved.txt --count-changed\n");
  AddLoad(segment, command);
  AddQuery(segment, command);
  AddValues(segment, command);
  AddTimeline(segment, command);
  AddReaders(segment, command);
  AddStoreAndDrop(segment, command);
  AddExport(segment, command);
  Extend(segment, kSegmentFooter);
}

void SetTimeout(SegmentCommand& command, std::chrono::milliseconds timeout) {
  std::visit(
      [timeout](auto& words) {
        if constexpr (requires { words.options.timeout; }) words.options.timeout = timeout;
      },
      command);
}

}  // namespace thermocline::cli
