#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "client/cli/timeline_output.h"
#include "storage/row_source.h"
#include "storage/s3_client.h"
#include "storage/timeline.h"

namespace CLI {
class App;
}

// What the words after `thermocline timeline` ask for.
namespace thermocline::cli {

struct TimelineCommand {
  std::string input;                 // "-": standard input; s3://bucket/key; empty: `database`
  storage::SourceLocation database;  // whose query has the rows
  storage::IntervalShape shape;
  std::chrono::milliseconds every{0};  // 0: every change
  TimelineStyle style;                 // without a title, it is the input
  uint64_t memory_bytes = 256 << 20;
  std::string temporary;
  storage::S3Options s3;
};

// True if it reads or writes objects.
bool UsesS3(const TimelineCommand& command);

// What all timelines have in common: how long their buckets are, and how they are shown.
void AddTimelineStyle(CLI::App* app, std::chrono::milliseconds& every, TimelineStyle& style,
                      const std::string& title);
// Where the times stand, and in what unit.
void AddTimelineFields(CLI::App* app, std::string& start, std::string& end, storage::Moment& unit,
                       const std::string& what);

void AddTimelineCommand(CLI::App& app, TimelineCommand& command);

}  // namespace thermocline::cli
