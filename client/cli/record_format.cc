#include "client/cli/record_format.h"

#include <charconv>
#include <string_view>
#include <utility>

#include "CLI/CLI.hpp"
#include "fmt/format.h"

#include "client/cli/options.h"

namespace thermocline::cli {
namespace {

using storage::RecordFormat;

std::optional<uint64_t> ParseBytes(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  for (const auto& [name, shift] : {std::pair("", 0), std::pair("KiB", 10), std::pair("MiB", 20),
                                    std::pair("GiB", 30), std::pair("TiB", 40)}) {
    if (unit == name && number <= (UINT64_MAX >> 1) >> shift) return number << shift;
  }
  return std::nullopt;
}

}  // namespace

RecordFormat RecordFormatOf(const std::string& path) {
  if (path.ends_with(".csv")) return RecordFormat::kCsv;
  const bool json = path.ends_with(".ndjson") || path.ends_with(".jsonl") || path.ends_with(".json");
  return json ? RecordFormat::kNdjson : RecordFormat::kLines;
}

void AddRecordFormat(CLI::App* app, std::optional<RecordFormat>& format) {
  AddChoice<std::optional<RecordFormat>>(
      app, "--format",
      {{"ndjson", RecordFormat::kNdjson}, {"csv", RecordFormat::kCsv}, {"lines", RecordFormat::kLines}},
      format, "Instead of what the file's name tells");
}

void AddMemory(CLI::App* app, uint64_t& bytes, const std::string& standard) {
  app->add_option_function<std::string>(
         "--memory",
         [&bytes](const std::string& text) {
           const std::optional<uint64_t> parsed = ParseBytes(text);
           if (!parsed.has_value()) {
             throw CLI::ValidationError(
                 "--memory",
                 fmt::format("\"{}\" is not a size: write a whole number and KiB, MiB or GiB", text));
           }
           bytes = *parsed;
         },
         fmt::format("What the process may use at most (default {})", standard))
      ->type_name("SIZE");
}

}  // namespace thermocline::cli
