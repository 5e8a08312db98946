#include <chrono>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "client/cli/commands.h"
#include "client/cli/text.h"

namespace thermocline::cli {
namespace {

// The names of proto/thermocline/v1/admin.proto.
nlohmann::ordered_json ToJson(const CompactionReport& report) {
  return {
      {"blocks_freed", report.blocks_freed},       {"bytes_scanned", report.bytes_scanned},
      {"bytes_written", report.bytes_written},     {"records_moved", report.records_moved},
      {"records_dropped", report.records_dropped}, {"duration_ms", report.duration_ms},
  };
}

std::string ToText(const CompactionReport& report) {
  if (report.blocks_freed == 0) return "nothing to free";
  return fmt::format("freed {} {} in {}: from {} to {} ({} records kept, {} dropped)",
                     FormatCount(report.blocks_freed), report.blocks_freed == 1 ? "block" : "blocks",
                     FormatDuration(std::chrono::milliseconds(report.duration_ms)),
                     FormatBytes(report.bytes_scanned), FormatBytes(report.bytes_written),
                     FormatCount(report.records_moved), FormatCount(report.records_dropped));
}

}  // namespace

ExitCode Execute(const CompactCommand& command, Context& context) {
  const absl::StatusOr<CompactionReport> report = context.client.Compact(command.options);
  if (!report.ok()) {
    const ExitCode code = FailCall(report.status(), context.io);
    if (report.status().code() == absl::StatusCode::kDeadlineExceeded)
      context.io.err << "the server goes on compacting; see thermocline stats\n";
    return code;
  }
  context.io.out << (context.json ? ToJson(*report).dump() : ToText(*report)) << "\n";
  return kOk;
}

}  // namespace thermocline::cli
