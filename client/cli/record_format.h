#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "storage/record_sort.h"

namespace CLI {
class App;
}

// Options of the commands that need no server.
namespace thermocline::cli {

// What a file's name tells: .csv, .ndjson, .jsonl or .json; lines for others.
storage::RecordFormat RecordFormatOf(const std::string& path);

// --format
void AddRecordFormat(CLI::App* app, std::optional<storage::RecordFormat>& format);

// --memory, as 64MiB or 2GiB; `standard` is what it is without.
void AddMemory(CLI::App* app, uint64_t& bytes, const std::string& standard);

}  // namespace thermocline::cli
