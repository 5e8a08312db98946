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
#include "client/cli/id_gathering.h"
#include "client/cli/id_inputs.h"
#include "client/cli/import_report.h"
#include "client/cli/progress.h"
#include "client/cli/s3_access.h"
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

// What an id that is none stands on.
std::string RejectedUnits(const SegmentChangeCommand& command, uint64_t count) {
  const bool rows = std::any_of(command.inputs.begin(), command.inputs.end(), IsDatabase);
  const bool lines = !std::all_of(command.inputs.begin(), command.inputs.end(), IsDatabase);
  const char* one = rows && lines ? "line or row" : rows ? "row" : "line";
  const char* many = rows && lines ? "lines and rows" : rows ? "rows" : "lines";
  return fmt::format("{} {}", FormatCount(count), count == 1 ? one : many);
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
  if (rejected > 0) text += fmt::format(", {} rejected", RejectedUnits(command, rejected));
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

// Tells how the change has ended.
ExitCode Tell(const SegmentChangeCommand& command, const absl::StatusOr<SegmentChange>& change,
              uint64_t rejected, steady_clock::time_point begin, Context& context) {
  if (!change.ok()) return FailCall(change.status(), context.io);
  context.io.out << (context.json ? SummaryJson : Summary)(command, *change, rejected, Since(begin)) << "\n";
  return rejected > 0 ? kRejected : kOk;
}

using Sources = std::vector<std::unique_ptr<storage::IdSource>>;

absl::StatusOr<Sources> OpenAll(const std::vector<IdInput>& inputs, const Io& io, S3Access& s3) {
  Sources sources;
  for (const IdInput& input : inputs) {
    absl::StatusOr<std::unique_ptr<storage::IdSource>> source = OpenIds(input, io.in, s3);
    if (!source.ok()) return source.status();
    sources.push_back(*std::move(source));
  }
  return sources;
}

// Ids of all inputs on their way to the server.
class Transfer {
 public:
  Transfer(const SegmentChangeCommand& command, const Sources& sources, Context& context,
           steady_clock::time_point begin)
      : command_(command),
        sources_(sources),
        names_(ShortNames(command.inputs)),
        rejected_(sources.size()),
        io_(context.io),
        progress_(io_.err, io_.err_is_terminal,
                  [this, begin] { return InputsLine(sources_, names_, sent_, Since(begin)); }),
        report_([this](std::string_view line) { progress_.Note(line); }) {}

  // Sends them all. nullopt if the change may be finished; else how the program ends, for it must not be.
  std::optional<ExitCode> Run(SegmentWriter& writer) {
    IdGathering gathering(sources_, [this](size_t source, uint64_t row, std::string_view problem) {
      return Reject(source, row, problem);
    });
    std::vector<uint64_t> ids;
    while (gathering.Next(ids)) {
      if (absl::Status written = writer.Write(ids); !written.ok()) {
        progress_.Stop();
        return FailCall(written, io_);
      }
      sent_ += ids.size();
    }
    const IdGathering::Failure& failure = gathering.failure();
    if (failure.status.ok() && !HasUseless()) return std::nullopt;
    progress_.Stop();
    return failure.status.ok() || stopped_ ? kRejected : Tell(failure);
  }

  // Takes the display of the progress away.
  void Stop() { progress_.Stop(); }
  uint64_t rejected() const { return report_.counts().rejected; }

 private:
  bool Reject(size_t source, uint64_t row, std::string_view problem) {
    // One is told when that is to stop everything, whatever other threads find before they have stopped.
    if (command_.stop_on_error && stopped_.exchange(true)) return false;
    ++rejected_[source];
    std::string place = fmt::format("{} {}", IsDatabase(command_.inputs[source]) ? "row" : "line", row);
    if (sources_.size() > 1) place = names_[source] + ": " + place;
    report_.Reject(place, problem);
    return !command_.stop_on_error;
  }

  // True if an input was not meant to be ids at all.
  bool HasUseless() const {
    for (size_t i = 0; i < sources_.size(); ++i) {
      const uint64_t taken = sources_[i]->rows() - (IsDatabase(command_.inputs[i]) ? rejected_[i].load() : 0);
      if (rejected_[i] > 0 && taken == 0) return true;
    }
    return false;
  }

  ExitCode Tell(const IdGathering::Failure& failure) {
    const IdInput& input = command_.inputs[failure.source];
    if (!IsDatabase(input)) return FailFile(failure.status, io_);
    const std::string& name = names_[failure.source];
    // Where several queries go to one database, its URL does not tell which.
    const size_t query = name.rfind(" (query ");
    std::string text(failure.status.message());
    if (query != std::string::npos) text += name.substr(query);
    return FailCall(absl::Status(failure.status.code(), text), io_);
  }

  const SegmentChangeCommand& command_;
  const Sources& sources_;
  const std::vector<std::string> names_;
  std::vector<std::atomic<uint64_t>> rejected_;  // of each source
  std::atomic<bool> stopped_ = false;            // by what is no id
  std::atomic<uint64_t> sent_ = 0;
  Io& io_;
  Progress progress_;
  ImportReport report_;
};

ExitCode ChangeFromInputs(const SegmentChangeCommand& command, SegmentWriter& writer,
                          steady_clock::time_point begin, Context& context) {
  S3Access s3(command.s3);
  const absl::StatusOr<Sources> sources = OpenAll(command.inputs, context.io, s3);
  if (!sources.ok()) return FailFile(sources.status(), context.io);
  Transfer transfer(command, *sources, context, begin);
  // What is not the whole input must not become the segment, nor what was not meant to be ids at all.
  if (const std::optional<ExitCode> failed = transfer.Run(writer); failed.has_value()) {
    context.io.err << "the segment was not changed\n";
    return *failed;
  }
  const absl::StatusOr<SegmentChange> change = writer.Finish();
  transfer.Stop();
  return Tell(command, change, transfer.rejected(), begin, context);
}

}  // namespace

ExitCode Execute(const SegmentChangeCommand& command, Context& context) {
  const auto begin = steady_clock::now();
  const std::unique_ptr<SegmentWriter> writer = Begin(command, context.client.segments());
  if (absl::Status written = writer->Write(command.ids); !written.ok()) return FailCall(written, context.io);
  if (command.inputs.empty()) return Tell(command, writer->Finish(), 0, begin, context);
  return ChangeFromInputs(command, *writer, begin, context);
}

}  // namespace thermocline::cli
