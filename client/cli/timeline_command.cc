#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "client/cli/commands.h"
#include "client/cli/local_work.h"
#include "client/cli/progress.h"
#include "client/cli/text.h"
#include "client/cli/timeline_output.h"
#include "storage/row_source.h"
#include "storage/timeline.h"

namespace thermocline::cli {
namespace {

using storage::IntervalSummary;
using storage::Moment;
using storage::SortProgress;
using storage::Timeline;
using storage::TimelineBucket;
using storage::TimelineChange;

constexpr size_t kRows = 4096;  // that are read at once

absl::Status Cancelled() { return absl::CancelledError("cancelled"); }

// Also if the reader of the lines leaves, the picture is drawn.
template <class Row, class Source>
absl::Status WriteRows(Source& source, TimelineOutput& output, const SortProgress& progress) {
  std::vector<Row> rows(kRows);
  while (output.wanted()) {
    const absl::StatusOr<size_t> count = source.Next(rows);
    if (!count.ok()) return count.status();
    if (progress.cancelled) return Cancelled();
    if (*count == 0) break;
    output.Add(std::span<const Row>(rows).first(*count));
  }
  return output.Finish();
}

absl::Status WriteAll(const TimelineCommand& command, bool numbers, Timeline& timeline,
                      const SortProgress& progress, S3Access& s3, Io& io) {
  const Timeline::Summary summary = timeline.summary();
  const Moment every = std::chrono::microseconds(command.every).count();
  TimelineStyle style = command.style;
  if (style.title.empty())
    style.title = command.input.empty() ? storage::ShownUrl(command.database.url) : command.input;
  TimelineOutput output(style,
                        {.first = summary.first,
                         .last = summary.last,
                         .running = summary.always,
                         .numbers = numbers,
                         .unit = command.shape.unit,
                         .buckets = every > 0},
                        s3, io);
  if (every == 0) return WriteRows<TimelineChange>(timeline, output, progress);
  storage::TimelineBuckets buckets(timeline, every);
  return WriteRows<TimelineBucket>(buckets, output, progress);
}

void PrintSummary(const IntervalSummary& rows, const Timeline::Summary& summary, Io& io) {
  if (!rows.first_invalid.empty()) io.err << rows.first_invalid << "\n";
  std::string line =
      fmt::format("{} intervals of {} rows", FormatCount(summary.intervals), FormatCount(rows.rows));
  const auto add = [&](uint64_t count, const char* what) {
    if (count > 0) line += fmt::format(", {} {}", FormatCount(count), what);
  };
  add(summary.open_ends, "without an end");
  add(summary.empty, "empty");
  add(rows.not_started, "rows not started");
  add(rows.invalid, "invalid rows left out");
  add(rows.inverted, "of them inverted");
  io.err << line << "\n";
}

// Where the rows come from: a file or object, or a database.
class Rows {
 public:
  static absl::StatusOr<Rows> Open(const TimelineCommand& command, const Io& io, S3Access& s3) {
    Rows rows;
    if (command.database.url.empty()) {
      auto input = OpenInput(command.input, io, s3);
      if (!input.ok()) return input.status();
      rows.input_ = *std::move(input);
      return rows;
    }
    auto database = storage::OpenRowSource(command.database);
    if (!database.ok()) return database.status();
    rows.database_ = *std::move(database);
    return rows;
  }

  absl::StatusOr<IntervalSummary> Read(const TimelineCommand& command, uint64_t memory_bytes,
                                       Timeline& timeline, SortProgress& progress, Io& io) {
    const CancelWatch watch(progress.cancelled, [this] { Cancel(); });
    const auto begin = std::chrono::steady_clock::now();
    Progress display(io.err, io.err_is_terminal, [&progress, begin] {
      ProgressState state{.records = progress.records, .bytes = progress.bytes, .what = "rows"};
      state.elapsed =
          std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
      if (progress.stage_bytes > 0) state.total_bytes = progress.stage_bytes;
      return ProgressLine(state);
    });
    if (database_ != nullptr) return storage::ReadIntervals(*database_, command.shape, timeline, progress);
    return storage::ReadIntervals(*input_, command.shape, memory_bytes, timeline, progress);
  }

 private:
  void Cancel() {
    if (database_ != nullptr) database_->Cancel();
    if (input_ != nullptr) input_->Cancel();
  }

  std::unique_ptr<storage::ByteReader> input_;
  std::unique_ptr<storage::RowSource> database_;
};

// Tells how the command ends if its rows cannot be read.
ExitCode FailRows(const TimelineCommand& command, const absl::Status& status, Io& io) {
  const bool database = !command.database.url.empty() && !absl::IsCancelled(status);
  return database ? FailCall(status, io) : FailFile(status, io);
}

ExitCode Chart(const TimelineCommand& command, SortProgress& progress, Io& io) {
  const uint64_t s3_bytes = UsesS3(command) ? S3BytesOf(command.memory_bytes) : 0;
  S3Access s3(command.s3, s3_bytes);
  absl::StatusOr<Rows> input = Rows::Open(command, io, s3);
  if (!input.ok()) return FailRows(command, input.status(), io);
  auto scratch = ScratchStore::Create(command.temporary.empty() ? DirectoryOf("-") : command.temporary, s3);
  if (!scratch.ok()) return FailFile(scratch.status(), io);
  // Most of it is for the moments, which the fewer runs have.
  const uint64_t memory = command.memory_bytes - kProcessBytes - s3_bytes;
  const uint64_t rows_memory = std::max(memory / 4, storage::kMinSortBytes);
  Timeline timeline((*scratch)->objects(), "timeline-", memory - rows_memory);
  const absl::StatusOr<IntervalSummary> rows = input->Read(command, rows_memory, timeline, progress, io);
  if (!rows.ok()) return FailRows(command, rows.status(), io);
  absl::Status status = timeline.Finish();
  if (status.ok()) status = WriteAll(command, rows->numbers, timeline, progress, s3, io);
  if (!status.ok()) return FailFile(status, io);
  PrintSummary(*rows, timeline.summary(), io);
  return rows->invalid > 0 ? kRejected : kOk;
}

}  // namespace

ExitCode Execute(const TimelineCommand& command, LocalContext& context) {
  SortProgress progress;
  const Interruption interruption(progress.cancelled);
  return Chart(command, progress, context.io);
}

}  // namespace thermocline::cli
