#include "client/cli/sort_command_line.h"

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "CLI/CLI.hpp"
#include "fmt/format.h"

#include "client/cli/options.h"
#include "client/cli/record_format.h"
#include "storage/s3_url.h"

namespace thermocline::cli {
namespace {

constexpr const char* kSortFooter = R"(
Order of keys: missing < null < false < true < numbers < strings < arrays < objects. Numbers compare by value, those of
64 bits exactly; strings by their bytes. A field of CSV that is a JSON number is a number (unless --text), an empty one
is missing. Records with equal keys keep their order. Without --key whole records compare, by their bytes.

Of --memory, 40 MiB are for the program itself, and where S3 is used a quarter of the rest (24 MiB to 104 MiB) for
what it reads ahead and uploads; a record may take a 128th of what is left then. What does not fit is written to sorted
runs, as large as the input together: beside the output, in TMPDIR or /tmp if that is an object, or in --temporary. The
output appears when it is complete, and may be the input. Ctrl-C removes everything again, a second one leaves it.

Examples:
  thermocline sort events.ndjson --key user.id --key at sorted.ndjson
  thermocline sort orders.csv --key amount --descending --memory 256MiB sorted.csv
  thermocline sort s3://lake/in.ndjson --key at s3://lake/out.ndjson --temporary s3://lake/scratch
  zcat access.log.gz | thermocline sort - - --format lines --unique | head
)";

// A CLI::Validator would say less.
void FinishSort(SortCommand& command, const std::optional<storage::RecordFormat>& format) {
  command.options.format = format.value_or(RecordFormatOf(command.input));
  if (command.options.format == storage::RecordFormat::kLines && !command.options.keys.empty()) {
    throw CLI::ValidationError("--key",
                               "lines have no fields; name the file .ndjson or .csv, or give --format");
  }
  if (command.options.text && command.options.format != storage::RecordFormat::kCsv)
    throw CLI::ValidationError("--text", "only fields of CSV can be taken for text");
  const bool s3 = storage::IsS3Url(command.input) || storage::IsS3Url(command.output) ||
                  storage::IsS3Url(command.temporary);
  if (command.memory_bytes < kProcessBytes + storage::kMinSortBytes + (s3 ? kMinS3Bytes : 0)) {
    throw CLI::ValidationError("--memory",
                               s3 ? "a sort with S3 needs 72MiB at least" : "a sort needs 48MiB at least");
  }
}

}  // namespace

void AddSortCommand(CLI::App& app, SortCommand& command) {
  CLI::App* sort =
      app.add_subcommand("sort", "Sort the records of a file that may be larger than memory (no server)");
  sort->footer(kSortFooter);
  auto format = std::make_shared<std::optional<storage::RecordFormat>>();
  sort->add_option("INPUT", command.input,
                   ".ndjson, .csv or text, or s3://bucket/key; - reads standard input")
      ->required();
  sort->add_option("OUTPUT", command.output, "The sorted file, or s3://bucket/key; - writes standard output")
      ->required();
  AddRepeated(
      sort, "--key", command.options.keys,
      "The field or column to sort by; OUTER.INNER is a field in a field. Several: the first counts most")
      ->type_name("FIELD");
  AddRecordFormat(sort, *format);
  sort->add_flag("--descending", command.options.descending, "The largest first");
  sort->add_flag("--unique", command.options.unique, "Only the first of records with equal keys");
  sort->add_flag("--text", command.options.text, "Fields of CSV are text, even if they look like numbers");
  sort->add_flag("--skip-invalid", command.options.skip_invalid,
                 "Leave out what is no record, and count it (default: stop at the first)");
  AddMemory(sort, command.memory_bytes, "1GiB");
  command.options.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  AddNumber(
      sort, "--threads",
      [&command](uint64_t threads) {
        command.options.threads = static_cast<int>(std::clamp<uint64_t>(threads, 1, 1024));
      },
      "How many compute (default: as many as there are processors)")
      ->type_name("COUNT");
  sort->add_option("--temporary", command.temporary,
                   "Where runs go that do not fit in memory: a directory, or s3://bucket/prefix")
      ->type_name("PLACE");
  AddS3(sort, command.s3);
  sort->callback([&command, format] { FinishSort(command, *format); });
}

}  // namespace thermocline::cli
