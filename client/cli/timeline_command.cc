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
                      const SortProgress& progress, Io& io) {
  const Timeline::Summary summary = timeline.summary();
  const Moment every = std::chrono::microseconds(command.every).count();
  TimelineStyle style = command.style;
  if (style.title.empty()) style.title = command.input;
  TimelineOutput output(style,
                        {.first = summary.first,
                         .last = summary.last,
                         .running = summary.always,
                         .numbers = numbers,
                         .unit = command.shape.unit,
                         .buckets = every > 0},
                        io);
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

absl::StatusOr<IntervalSummary> Chart(const TimelineCommand& command, SortProgress& progress, Io& io) {
  auto input = OpenInput(command.input, io);
  if (!input.ok()) return input.status();
  auto scratch = ScratchStore::Create(command.temporary.empty() ? DirectoryOf("-") : command.temporary);
  if (!scratch.ok()) return scratch.status();
  // Most of it is for the moments, which the fewer runs have.
  const uint64_t memory = command.memory_bytes - kProcessBytes;
  const uint64_t rows_memory = std::max(memory / 4, storage::kMinSortBytes);
  Timeline timeline((*scratch)->objects(), "timeline-", memory - rows_memory);
  absl::StatusOr<IntervalSummary> rows = [&] {
    const auto begin = std::chrono::steady_clock::now();
    Progress display(io.err, io.err_is_terminal, [&] {
      ProgressState state{.records = progress.records, .bytes = progress.bytes, .what = "rows"};
      state.elapsed =
          std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
      if (progress.stage_bytes > 0) state.total_bytes = progress.stage_bytes;
      return ProgressLine(state);
    });
    return storage::ReadIntervals(**input, command.shape, rows_memory, timeline, progress);
  }();
  if (!rows.ok()) return rows;
  absl::Status status = timeline.Finish();
  if (status.ok()) status = WriteAll(command, rows->numbers, timeline, progress, io);
  if (!status.ok()) return status;
  PrintSummary(*rows, timeline.summary(), io);
  return rows;
}

}  // namespace

ExitCode Execute(const TimelineCommand& command, LocalContext& context) {
  SortProgress progress;
  const Interruption interruption(progress.cancelled);
  const absl::StatusOr<IntervalSummary> rows = Chart(command, progress, context.io);
  if (!rows.ok()) return FailFile(rows.status(), context.io);
  return rows->invalid > 0 ? kRejected : kOk;
}

}  // namespace thermocline::cli
