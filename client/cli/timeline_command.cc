#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "client/cli/commands.h"
#include "client/cli/local_work.h"
#include "client/cli/progress.h"
#include "client/cli/text.h"
#include "client/cli/timeline_picture.h"
#include "storage/timeline.h"

namespace thermocline::cli {
namespace {

using storage::IntervalSummary;
using storage::Moment;
using storage::SortProgress;
using storage::Timeline;
using storage::TimelineBucket;
using storage::TimelineChange;
using Output = TimelineCommand::Output;

constexpr size_t kRows = 4096;  // that are read at once

// Writes lines to standard output as they come.
class Lines {
 public:
  Lines(const TimelineCommand& command, bool numbers, Io& io)
      : ndjson_(command.output == Output::kNdjson), numbers_(numbers), unit_(command.shape.unit), io_(io) {}

  void Header(const char* names) {
    if (!ndjson_) io_.out << names << "\n";
  }

  void Add(const TimelineChange& change) {
    const std::string at = Time(change.at);
    io_.out << (ndjson_ ? fmt::format("{{\"at\":{},\"running\":{}}}\n", at, change.running)
                        : fmt::format("{},{}\n", at, change.running));
  }

  void Add(const TimelineBucket& bucket) {
    const char* const format =
        ndjson_ ? "{{\"begin\":{},\"least\":{},\"most\":{},\"mean\":{:.6g},\"started\":{},\"ended\":{}}}\n"
                : "{},{},{},{:.6g},{},{}\n";
    io_.out << fmt::format(fmt::runtime(format), Time(bucket.begin), bucket.least, bucket.most, bucket.mean,
                           bucket.started, bucket.ended);
  }

  bool good() const { return io_.out.good(); }

 private:
  std::string Time(Moment moment) const {
    const bool bound = moment == storage::kAlways || moment == storage::kNever;
    // What was a fraction of the unit stays one.
    if (numbers_ && !bound) {
      return moment % unit_ == 0
                 ? fmt::format("{}", moment / unit_)
                 : fmt::format("{}", static_cast<double>(moment) / static_cast<double>(unit_));
    }
    const std::string text = storage::FormatMoment(moment);
    return ndjson_ ? "\"" + text + "\"" : text;
  }

  const bool ndjson_;
  const bool numbers_;
  const Moment unit_;
  Io& io_;
};

absl::Status Cancelled() { return absl::CancelledError("cancelled"); }

// A line each time that the number changes; also if its reader leaves, the picture is drawn.
absl::Status WriteChanges(Timeline& timeline, Lines& lines, TimelinePicture* picture,
                          const SortProgress& progress) {
  std::vector<TimelineChange> changes(kRows);
  lines.Header("at,running");
  uint64_t running = timeline.summary().always;
  if (running > 0) lines.Add(TimelineChange{.at = storage::kAlways, .running = running});
  while (lines.good() || picture != nullptr) {
    const absl::StatusOr<size_t> count = timeline.Next(changes);
    if (!count.ok()) return count.status();
    if (progress.cancelled) return Cancelled();
    if (*count == 0) break;
    for (const TimelineChange& change : std::span(changes).first(*count)) {
      if (std::exchange(running, change.running) == change.running) continue;
      lines.Add(change);
      if (picture != nullptr) picture->Add(change.at, change.running);
    }
  }
  return absl::OkStatus();
}

absl::Status WriteBuckets(Timeline& timeline, Moment every, Lines& lines, TimelinePicture* picture,
                          const SortProgress& progress) {
  std::vector<TimelineBucket> buckets(kRows);
  lines.Header("begin,least,most,mean,started,ended");
  storage::TimelineBuckets source(timeline, every);
  while (lines.good() || picture != nullptr) {
    const absl::StatusOr<size_t> count = source.Next(buckets);
    if (!count.ok()) return count.status();
    if (progress.cancelled) return Cancelled();
    if (*count == 0) break;
    for (const TimelineBucket& bucket : std::span(buckets).first(*count)) {
      lines.Add(bucket);
      if (picture == nullptr) continue;
      picture->Add(bucket.begin, bucket.most);
      picture->Add(bucket.begin, bucket.least);
    }
  }
  return absl::OkStatus();
}

absl::Status WritePicture(const TimelineCommand& command, const TimelinePicture& picture, const Io& io) {
  auto output = OpenOutput(command.picture, io);
  if (!output.ok()) return output.status();
  absl::Status status =
      (*output)->Append(picture.Render(command.title.empty() ? command.input : command.title));
  return status.ok() ? (*output)->Finish() : status;
}

absl::Status WriteAll(const TimelineCommand& command, bool numbers, Timeline& timeline,
                      const SortProgress& progress, Io& io) {
  Lines lines(command, numbers, io);
  std::optional<TimelinePicture> picture;
  const Timeline::Summary summary = timeline.summary();
  if (!command.picture.empty())
    picture.emplace(summary.first.value_or(0), summary.last.value_or(0), summary.always);
  TimelinePicture* const drawn = picture.has_value() ? &*picture : nullptr;
  const Moment every = std::chrono::microseconds(command.every).count();
  absl::Status status = every > 0 ? WriteBuckets(timeline, every, lines, drawn, progress)
                                  : WriteChanges(timeline, lines, drawn, progress);
  if (!status.ok() || drawn == nullptr) return status;
  return WritePicture(command, *drawn, io);
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
