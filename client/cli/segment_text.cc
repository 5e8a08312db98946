#include "client/cli/segment_text.h"

#include <algorithm>

#include "fmt/chrono.h"
#include "fmt/format.h"

#include "client/cli/entry_json.h"
#include "client/cli/progress.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

using nlohmann::ordered_json;
using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr size_t kShownNameBytes = 300;

// Columns that UTF-8 takes on a terminal, for all but wide and combining characters.
size_t Width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

double Part(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : std::min(1.0, static_cast<double>(part) / static_cast<double>(whole));
}

std::string FormatTime(system_clock::time_point time, const char* unit = "") {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}{}", fmt::gmtime(system_clock::to_time_t(time)), unit);
}

int64_t ToMs(system_clock::time_point time) {
  return std::chrono::duration_cast<milliseconds>(time.time_since_epoch()).count();
}

std::string Line(const char* name, const std::string& value) {
  return fmt::format("  {:<16}{}\n", name, value);
}

const char* StageText(SegmentJob::Stage stage) {
  switch (stage) {
    case SegmentJob::Stage::kWaiting:
      return "waiting";
    case SegmentJob::Stage::kPlanning:
      return "planning";
    case SegmentJob::Stage::kWriting:
      return "writing";
    case SegmentJob::Stage::kFinishing:
      return "finishing";
    case SegmentJob::Stage::kDone:
      return "done";
    case SegmentJob::Stage::kFailed:
      return "failed";
    case SegmentJob::Stage::kCancelled:
      return "cancelled";
    case SegmentJob::Stage::kUnknown:
      break;
  }
  return "unknown";
}

const char* FormatName(SegmentExportFormat format) {
  if (format == SegmentExportFormat::kPacked) return "packed";
  return format == SegmentExportFormat::kIdFile ? "id-file" : "lines";
}

}  // namespace

std::string Table(const std::vector<std::vector<std::string>>& lines, const std::vector<bool>& numbers) {
  std::vector<size_t> widths(numbers.size());
  for (const std::vector<std::string>& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], Width(line[i]));
  }
  std::string table;
  for (const std::vector<std::string>& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      const std::string space(widths[i] - Width(line[i]), ' ');
      if (i > 0) table += "  ";
      table += numbers[i] ? space + line[i] : line[i] + space;
    }
    table.erase(table.find_last_not_of(' ') + 1);
    table += '\n';
  }
  return table;
}

std::string FormatIds(uint64_t count) { return FormatCount(count) + (count == 1 ? " id" : " ids"); }

std::string FormatBounds(uint64_t min, uint64_t max) {
  return min == max ? FormatCount(min) : fmt::format("{}..{}", FormatCount(min), FormatCount(max));
}

std::string QuerySummary(uint64_t ids, milliseconds elapsed, const SegmentProgress& progress) {
  std::string summary = fmt::format("{} in {}", FormatIds(ids), FormatDuration(elapsed));
  if (progress.blocks > 0) {
    summary += fmt::format(", {} of {} blocks read", FormatCount(progress.blocks_read),
                           FormatCount(progress.blocks));
  }
  if (progress.from_kept_result) summary += ", from a kept result";
  return summary;
}

std::string QueryProgressLine(const SegmentProgress& progress, milliseconds elapsed) {
  const double part = std::max(Part(progress.ids, progress.max_ids),
                               Part(progress.blocks_read + progress.blocks_passed, progress.blocks));
  return fmt::format("{}  {} of at most {}  {} of {} blocks  {}", ProgressBar(part), FormatIds(progress.ids),
                     FormatCount(progress.max_ids), FormatCount(progress.blocks_read),
                     FormatCount(progress.blocks), FormatDuration(elapsed));
}

std::string SegmentTable(const std::vector<SegmentInfo>& segments) {
  std::vector<std::vector<std::string>> lines = {{"name", "ids", "bytes", "files", "changed (UTC)"}};
  for (const SegmentInfo& segment : segments) {
    lines.push_back({FormatText(segment.name, kShownNameBytes),
                     FormatBounds(segment.min_count, segment.max_count), FormatBytes(segment.bytes),
                     FormatCount(segment.files), FormatTime(segment.changed)});
  }
  return Table(lines, {false, true, true, true, false});
}

std::string SegmentText(const SegmentInfo& segment) {
  const bool exact = segment.min_count == segment.max_count;
  return FormatText(segment.name, kShownNameBytes) + "\n" +
         Line("ids", FormatBounds(segment.min_count, segment.max_count) +
                         (exact ? "" : " (thermocline segment count tells exactly)")) +
         Line("recent changes", FormatCount(segment.recent_changes)) +
         Line("on disk", fmt::format("{} in {} {}", FormatBytes(segment.bytes), FormatCount(segment.files),
                                     segment.files == 1 ? "file" : "files")) +
         Line("version", std::to_string(segment.version)) +
         Line("created", FormatTime(segment.created, " UTC")) +
         Line("changed", FormatTime(segment.changed, " UTC"));
}

std::string JobProgressLine(const SegmentJob& job) {
  const SegmentProgress& query = job.progress;
  const double part =
      std::max(Part(job.ids, job.max_ids), Part(query.blocks_read + query.blocks_passed, query.blocks));
  const bool begun = job.stage >= SegmentJob::Stage::kWriting;
  std::string line = ProgressBar(begun ? part : 0) + "  " + StageText(job.stage);
  if (!begun) return line;
  line += fmt::format("  {}  {}/s  {}", FormatIds(job.ids), FormatCount(job.ids_per_second),
                      FormatBytes(job.bytes));
  if (job.remaining.has_value()) line += fmt::format("  {} left", FormatDuration(*job.remaining));
  return line;
}

std::string JobTable(const std::vector<SegmentJob>& jobs) {
  std::vector<std::vector<std::string>> lines = {{"id", "stage", "ids", "bytes", "created (UTC)", "url"}};
  for (const SegmentJob& job : jobs) {
    lines.push_back({job.id, StageText(job.stage), FormatCount(job.ids), FormatBytes(job.bytes),
                     FormatTime(job.created), FormatText(job.url, kShownNameBytes)});
  }
  return Table(lines, {false, false, true, true, false, false});
}

std::string JobSummary(const SegmentJob& job) {
  std::string summary = fmt::format("{}, {}", FormatIds(job.ids), FormatBytes(job.bytes));
  if (!job.sha256.empty()) summary += ", SHA-256 " + job.sha256;
  if (job.started.has_value() && job.finished.has_value()) {
    const auto time = std::chrono::duration_cast<milliseconds>(*job.finished - *job.started);
    summary += ", in " + FormatDuration(std::max(time, milliseconds(0)));
  }
  return summary;
}

ordered_json ToJson(const SegmentJob& job) {
  ordered_json object;
  object["id"] = job.id;
  PutBytes(object, "expression", job.expression);
  object["url"] = job.url;
  object["format"] = FormatName(job.format);
  object["stage"] = StageText(job.stage);
  object["ids"] = job.ids;
  object["max_ids"] = job.max_ids;
  object["bytes"] = job.bytes;
  object["ids_per_second"] = job.ids_per_second;
  if (job.remaining.has_value()) object["remaining_ms"] = job.remaining->count();
  object["created_at_ms"] = ToMs(job.created);
  if (job.started.has_value()) object["started_at_ms"] = ToMs(*job.started);
  if (job.finished.has_value()) object["finished_at_ms"] = ToMs(*job.finished);
  if (!job.failure.ok()) object["failure"] = FormatStatus(job.failure);
  if (!job.sha256.empty()) object["sha256"] = job.sha256;
  object["progress"] = ToJson(job.progress);
  return object;
}

ordered_json ToJson(const SegmentInfo& segment) {
  ordered_json object;
  PutBytes(object, "name", segment.name);
  object["version"] = segment.version;
  object["min_count"] = segment.min_count;
  object["max_count"] = segment.max_count;
  object["recent_changes"] = segment.recent_changes;
  object["bytes"] = segment.bytes;
  object["files"] = segment.files;
  object["created_at_ms"] = ToMs(segment.created);
  object["changed_at_ms"] = ToMs(segment.changed);
  return object;
}

ordered_json ToJson(const SegmentProgress& progress) {
  return {
      {"ids", progress.ids},
      {"max_ids", progress.max_ids},
      {"blocks", progress.blocks},
      {"blocks_read", progress.blocks_read},
      {"blocks_passed", progress.blocks_passed},
      {"bytes_read", progress.bytes_read},
      {"elapsed_ms", progress.elapsed.count()},
      {"memory_bytes", progress.memory_bytes},
      {"from_kept_result", progress.from_kept_result},
  };
}

}  // namespace thermocline::cli
