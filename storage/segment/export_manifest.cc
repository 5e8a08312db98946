#include "storage/segment/export_manifest.h"

#include <ctime>
#include <string_view>

#include "fmt/format.h"

namespace thermocline::storage::segment {
namespace {

std::string_view NameOf(SegmentExportFormat format) {
  switch (format) {
    case SegmentExportFormat::kLines:
      return "lines";
    case SegmentExportFormat::kPacked:
      return "packed";
    case SegmentExportFormat::kIdFile:
      return "id-file";
  }
  return "";
}

// `text` is UTF-8.
std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      quoted += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string TimeOf(uint64_t ms_since_1970) {
  const auto seconds = static_cast<std::time_t>(ms_since_1970 / 1000);
  std::tm utc{};
  char text[32] = "";
  if (gmtime_r(&seconds, &utc) != nullptr) std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  return fmt::format("{}.{:03}Z", text, ms_since_1970 % 1000);
}

}  // namespace

std::string ExportManifest(const SegmentExportResult& result, const SegmentExportOptions& options,
                           uint64_t created_at_ms) {
  std::string manifest = "{\n";
  const auto add = [&manifest](std::string_view key, std::string_view value) {
    if (manifest.size() > 2) manifest += ",\n";
    manifest += fmt::format("  \"{}\": {}", key, value);
  };
  add("format", Quoted(NameOf(options.format)));
  add("count", fmt::to_string(result.ids));
  add("bytes", fmt::to_string(result.bytes));
  add("sha256", Quoted(result.sha256));
  if (result.ids > 0) {
    add("first", fmt::to_string(result.first));
    add("last", fmt::to_string(result.last));
  }
  add("expression", Quoted(result.normalized));
  if (options.query.after.has_value()) add("after", fmt::to_string(*options.query.after));
  if (options.query.limit != 0) add("limit", fmt::to_string(options.query.limit));
  add("created_at", Quoted(TimeOf(created_at_ms)));
  return manifest + "\n}\n";
}

}  // namespace thermocline::storage::segment
