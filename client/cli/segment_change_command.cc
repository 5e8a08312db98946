#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"

#include "client/cli/entry_json.h"
#include "client/cli/import_report.h"
#include "client/cli/progress.h"
#include "client/cli/segment_commands.h"
#include "client/cli/segment_text.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Kind = SegmentChangeCommand::Kind;

constexpr size_t kShownNameBytes = 300;

milliseconds Since(steady_clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
}

std::unique_ptr<SegmentWriter> Begin(const SegmentChangeCommand& command, Segments& segments) {
  switch (command.kind) {
    case Kind::kAdd:
      return segments.Add(command.segment, command.options);
    case Kind::kRemove:
      return segments.Remove(command.segment, command.options);
    case Kind::kLoad:
      break;
  }
  return segments.Load(command.segment, command.options);
}

std::string Summary(const SegmentChangeCommand& command, const SegmentChange& change, uint64_t rejected,
                    milliseconds elapsed) {
  const char* done = command.kind == Kind::kAdd      ? "added to"
                     : command.kind == Kind::kRemove ? "removed from"
                                                     : "loaded into";
  const uint64_t ms = std::max<uint64_t>(1, static_cast<uint64_t>(elapsed.count()));
  std::string text = fmt::format("{} {} {} in {} ({}/s), {} different", FormatIds(change.received), done,
                                 FormatText(command.segment, kShownNameBytes), FormatDuration(elapsed),
                                 FormatCount(change.received * 1000 / ms), FormatCount(change.distinct));
  if (change.changed.has_value()) {
    text += fmt::format(", {} of them {}", FormatCount(*change.changed),
                        command.kind == Kind::kRemove ? "were in it" : "new");
  }
  if (rejected > 0)
    text += fmt::format(", {} {} rejected", FormatCount(rejected), rejected == 1 ? "line" : "lines");
  return text;
}

std::string SummaryJson(const SegmentChangeCommand& command, const SegmentChange& change, uint64_t rejected,
                        milliseconds elapsed) {
  nlohmann::ordered_json summary;
  PutBytes(summary, "segment", command.segment);
  summary["received"] = change.received;
  summary["distinct"] = change.distinct;
  if (change.changed.has_value()) summary["changed"] = *change.changed;
  summary["version"] = change.version;
  summary["rejected"] = rejected;
  summary["elapsed_ms"] = elapsed.count();
  return summary.dump();
}

// Sends the ids of the command's file. False if one was rejected and that is to stop it.
absl::StatusOr<bool> SendFile(const SegmentChangeCommand& command, IdReader& reader, SegmentWriter& writer,
                              ImportReport& report, std::atomic<uint64_t>& sent) {
  const auto reject = [&](uint64_t line, std::string_view problem) {
    report.Reject(line, problem);
    return !command.stop_on_error;
  };
  std::vector<uint64_t> ids;
  while (reader.Next(ids, reject)) {
    if (absl::Status written = writer.Write(ids); !written.ok()) return written;
    sent += ids.size();
  }
  return !(command.stop_on_error && report.rejected_any());
}

// Tells how the change has ended.
ExitCode Tell(const SegmentChangeCommand& command, const absl::StatusOr<SegmentChange>& change,
              uint64_t rejected, steady_clock::time_point begin, Context& context) {
  if (!change.ok()) return FailCall(change.status(), context.io);
  context.io.out << (context.json ? SummaryJson : Summary)(command, *change, rejected, Since(begin)) << "\n";
  return rejected > 0 ? kRejected : kOk;
}

ExitCode ChangeFromFile(const SegmentChangeCommand& command, SegmentWriter& writer,
                        steady_clock::time_point begin, Context& context) {
  Io& io = context.io;
  const auto source = ByteSource::Open(command.file, io.in);
  if (!source.ok()) return FailFile(source.status(), io);
  const auto reader = IdReader::Open(**source, command.shape);
  if (!reader.ok()) return FailFile(reader.status(), io);

  std::atomic<uint64_t> sent = 0;
  Progress progress(io.err, io.err_is_terminal, [&] {
    return ProgressLine({sent, (*source)->consumed(), (*source)->size(), Since(begin), "ids"});
  });
  ImportReport report([&progress](std::string_view line) { progress.Note(line); });
  const absl::StatusOr<bool> complete = SendFile(command, **reader, writer, report, sent);
  const uint64_t rejected = report.counts().rejected;
  const bool read = (*source)->status().ok();
  // What is not the whole input must not become the segment, nor what was not meant to be ids at all.
  if (complete.ok() && read && *complete && (rejected == 0 || sent > 0)) {
    const absl::StatusOr<SegmentChange> change = writer.Finish();
    progress.Stop();
    return Tell(command, change, rejected, begin, context);
  }
  progress.Stop();
  if (!complete.ok()) return FailCall(complete.status(), io);
  if (!read) FailFile((*source)->status(), io);
  io.err << "the segment was not changed\n";
  return read ? kRejected : kUsage;
}

}  // namespace

ExitCode Execute(const SegmentChangeCommand& command, Context& context) {
  const auto begin = steady_clock::now();
  const std::unique_ptr<SegmentWriter> writer = Begin(command, context.client.segments());
  if (absl::Status written = writer->Write(command.ids); !written.ok()) return FailCall(written, context.io);
  if (command.file.empty()) return Tell(command, writer->Finish(), 0, begin, context);
  return ChangeFromFile(command, *writer, begin, context);
}

}  // namespace thermocline::cli
