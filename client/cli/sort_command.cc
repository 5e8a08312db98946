#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "client/cli/commands.h"
#include "client/cli/local_work.h"
#include "client/cli/progress.h"
#include "client/cli/text.h"
#include "storage/record_sort.h"
#include "storage/s3_client.h"
#include "storage/s3_url.h"

namespace thermocline::cli {
namespace {

using storage::SortProgress;
using storage::SortStage;
using storage::SortSummary;
using Clock = std::chrono::steady_clock;

std::chrono::milliseconds Since(Clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
}

// "reading: [####----] 42 % ...", with the rate of the stage.
class StageLine {
 public:
  explicit StageLine(const SortProgress& progress) : progress_(progress) {}

  std::string operator()() {
    const SortStage stage = progress_.stage;
    // It has begun since the last call.
    const Clock::time_point now = Clock::now();
    if (std::exchange(stage_, stage) != stage) begin_ = called_;
    called_ = now;
    const uint64_t total = progress_.stage_bytes;
    ProgressState state{.bytes = progress_.bytes, .elapsed = Since(begin_), .what = "records"};
    if (total > 0) state.total_bytes = total;
    state.records = progress_.records;
    const std::string rate =
        fmt::format("  {}/s", FormatBytes(state.bytes * 1000 / std::max<uint64_t>(1, state.elapsed.count())));
    const char* const name = stage == SortStage::kReading   ? "sorting"
                             : stage == SortStage::kMerging ? "merging runs"
                                                            : "writing";
    if (stage == SortStage::kReading) return fmt::format("{}  {}{}", name, ProgressLine(state), rate);
    return fmt::format("{}  {}{}", name, BytesLine(state), rate);
  }

 private:
  // Only bytes are counted after the first stage.
  static std::string BytesLine(const ProgressState& state) {
    if (!state.total_bytes.has_value()) return FormatBytes(state.bytes);
    const double part =
        std::min(1.0, static_cast<double>(state.bytes) / static_cast<double>(*state.total_bytes));
    std::string line = fmt::format("{}  {} of {}", ProgressBar(part), FormatBytes(state.bytes),
                                   FormatBytes(*state.total_bytes));
    if (part > 0) {
      const auto left = static_cast<int64_t>(static_cast<double>(state.elapsed.count()) * (1 - part) / part);
      line += fmt::format("  {} left", FormatDuration(std::chrono::milliseconds(left)));
    }
    return line;
  }

  const SortProgress& progress_;
  SortStage stage_ = SortStage::kReading;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point called_ = begin_;
};

void PrintSummary(const SortSummary& summary, std::chrono::milliseconds elapsed, bool json,
                  std::ostream& out) {
  if (json) {
    nlohmann::ordered_json object;
    object["records"] = summary.records;
    object["bytes"] = summary.bytes;
    object["invalid"] = summary.invalid;
    object["duplicates"] = summary.duplicates;
    object["runs"] = summary.runs;
    object["merges"] = summary.merges;
    object["elapsed_ms"] = elapsed.count();
    out << object.dump() << "\n";
    return;
  }
  const uint64_t ms = std::max<uint64_t>(1, static_cast<uint64_t>(elapsed.count()));
  std::string line =
      fmt::format("{} records sorted in {} ({}, {}/s)", FormatCount(summary.records), FormatDuration(elapsed),
                  FormatBytes(summary.bytes), FormatBytes(summary.bytes * 1000 / ms));
  if (summary.runs > 0) line += fmt::format(", through {} runs", FormatCount(summary.runs));
  if (summary.duplicates > 0)
    line += fmt::format(", {} duplicates left out", FormatCount(summary.duplicates));
  if (summary.invalid > 0) line += fmt::format(", {} invalid left out", FormatCount(summary.invalid));
  out << line << "\n";
}

// OK, or why the output has no room for the input, which may take hours to find out.
absl::Status CheckSize(const SortCommand& command, const storage::ByteReader& input, S3Access& s3) {
  if (!storage::IsS3Url(command.output) || !input.size().has_value()) return absl::OkStatus();
  const absl::StatusOr<storage::S3Client*> client = s3.client();
  if (!client.ok()) return client.status();
  const uint64_t most = (*client)->max_object_bytes();
  if (*input.size() <= most) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      fmt::format("{} has {}, and {} can get {} with this memory: give more with --memory, or sort to a file",
                  command.input, FormatBytes(*input.size()), command.output, FormatBytes(most)));
}

absl::StatusOr<SortSummary> Sort(const SortCommand& command, const Io& io, SortProgress& progress) {
  const std::string temporary = command.temporary.empty() ? DirectoryOf(command.output) : command.temporary;
  const bool uses_s3 =
      storage::IsS3Url(command.input) || storage::IsS3Url(command.output) || storage::IsS3Url(temporary);
  const uint64_t s3_bytes = uses_s3 ? S3BytesOf(command.memory_bytes) : 0;
  S3Access s3(command.s3, s3_bytes);
  auto input = OpenInput(command.input, io, s3);
  if (!input.ok()) return input.status();
  if (absl::Status status = CheckSize(command, **input, s3); !status.ok()) return status;
  auto output = OpenOutput(command.output, io, s3);
  if (!output.ok()) return output.status();
  auto scratch = ScratchStore::Create(temporary, s3);
  if (!scratch.ok()) return scratch.status();
  const CancelWatch watch(progress.cancelled, [&input] { (*input)->Cancel(); });
  storage::SortOptions options = command.options;
  options.memory_bytes = command.memory_bytes - kProcessBytes - s3_bytes;
  return storage::SortRecords(**input, **output, (*scratch)->objects(), options, progress);
}

}  // namespace

ExitCode Execute(const SortCommand& command, LocalContext& context) {
  Io& io = context.io;
  SortProgress progress;
  const Interruption interruption(progress.cancelled);
  const auto begin = Clock::now();
  Progress display(io.err, io.err_is_terminal, StageLine(progress));
  const absl::StatusOr<SortSummary> summary = Sort(command, io, progress);
  display.Stop();
  if (!summary.ok()) {
    const bool to_output = command.output == "-";
    if (to_output && ReaderHasLeft(io)) return kOk;
    return FailFile(summary.status(), io);
  }
  if (!summary->first_invalid.empty()) io.err << summary->first_invalid << "\n";
  // Standard output has the records.
  PrintSummary(*summary, Since(begin), context.json, command.output == "-" ? io.err : io.out);
  return summary->invalid > 0 ? kRejected : kOk;
}

}  // namespace thermocline::cli
