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

std::string TitleOf(const TimelineCommand& command) {
  if (!command.title.empty()) return command.title;
  return command.input.empty() ? storage::ShownUrl(command.database.url) : command.input;
}

absl::Status WritePicture(const TimelineCommand& command, const TimelinePicture& picture, S3Access& s3,
                          const Io& io) {
  auto output = OpenOutput(command.picture, io, s3);
  if (!output.ok()) return output.status();
  absl::Status status = (*output)->Append(picture.Render(TitleOf(command)));
  return status.ok() ? (*output)->Finish() : status;
}

absl::Status WriteAll(const TimelineCommand& command, bool numbers, Timeline& timeline,
                      const SortProgress& progress, S3Access& s3, Io& io) {
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
  return WritePicture(command, *drawn, s3, io);
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
