#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "storage/row_source.h"
#include "storage/s3_client.h"
#include "storage/timeline.h"

namespace CLI {
class App;
}

// What the words after `thermocline timeline` ask for.
namespace thermocline::cli {

struct TimelineCommand {
  enum class Output { kCsv, kNdjson };

  std::string input;                 // "-": standard input; s3://bucket/key; empty: `database`
  storage::SourceLocation database;  // whose query has the rows
  storage::IntervalShape shape;
  std::chrono::milliseconds every{0};  // 0: every change
  Output output = Output::kCsv;
  std::string picture;  // an SVG file; empty: none
  std::string title;    // of it; empty: the input
  uint64_t memory_bytes = 256 << 20;
  std::string temporary;
  storage::S3Options s3;
};

// True if it reads or writes objects.
bool UsesS3(const TimelineCommand& command);

void AddTimelineCommand(CLI::App& app, TimelineCommand& command);

}  // namespace thermocline::cli
