#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "storage/timeline.h"

namespace CLI {
class App;
}

// What the words after `thermocline timeline` ask for.
namespace thermocline::cli {

struct TimelineCommand {
  enum class Output { kCsv, kNdjson };

  std::string input;  // "-": standard input
  storage::IntervalShape shape;
  std::chrono::milliseconds every{0};  // 0: every change
  Output output = Output::kCsv;
  std::string picture;  // an SVG file; empty: none
  std::string title;    // of it; empty: the input
  uint64_t memory_bytes = 256 << 20;
  std::string temporary;
};

void AddTimelineCommand(CLI::App& app, TimelineCommand& command);

}  // namespace thermocline::cli
