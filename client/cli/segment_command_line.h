#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "client/cli/id_inputs.h"
#include "client/cli/timeline_output.h"
#include "client/segments.h"
#include "storage/s3_client.h"
#include "storage/timeline.h"

namespace CLI {
class App;
}

// What the words after `thermocline segment` ask for.
namespace thermocline::cli {

struct SegmentChangeCommand {
  enum class Kind { kAdd, kRemove, kLoad };
  Kind kind = Kind::kAdd;
  std::string segment;
  std::vector<uint64_t> ids;
  std::vector<IdInput> inputs;  // of more ids, all read at once
  bool stop_on_error = false;
  SegmentChangeOptions options;
  storage::S3Options s3;
};

struct SegmentQueryCommand {
  std::string expression;
  SegmentQueryOptions options;
};

struct SegmentValuesCommand {
  std::string expression;
  std::string key_pattern;
  bool only_found = false;
  SegmentQueryOptions options;
};

struct SegmentTimelineCommand {
  std::string expression;
  std::string key_pattern;
  std::chrono::milliseconds every{0};  // 0: every change
  storage::Moment unit = 1000;         // of times that are numbers
  TimelineStyle style;                 // without a title, it is the expression
  SegmentTimelineOptions options;      // but for what stands above
  storage::S3Options s3;               // for the picture
};

struct SegmentCountCommand {
  std::string expression;
  SegmentCountOptions options;
};

struct SegmentExplainCommand {
  std::string expression;
  SegmentExplainOptions options;
};

struct SegmentStoreCommand {
  std::string segment;
  std::string expression;
  SegmentStoreOptions options;
};

struct SegmentListCommand {
  std::string prefix;
};

struct SegmentDescribeCommand {
  std::string segment;
};

struct SegmentDropCommand {
  std::vector<std::string> segments;
};

struct SegmentExportCommand {
  std::string expression;
  std::string url;
  bool detach = false;
  SegmentExportOptions options;
};

struct JobListCommand {
  bool unfinished_only = false;
};

struct JobWatchCommand {
  std::string id;
};

struct JobCancelCommand {
  std::vector<std::string> ids;
};

using SegmentCommand =
    std::variant<SegmentChangeCommand, SegmentQueryCommand, SegmentValuesCommand, SegmentTimelineCommand,
                 SegmentCountCommand, SegmentExplainCommand, SegmentStoreCommand, SegmentListCommand,
                 SegmentDescribeCommand, SegmentDropCommand, SegmentExportCommand, JobListCommand,
                 JobWatchCommand, JobCancelCommand>;

// Adds the command `segment` with its own commands to `app`. When one of them is parsed, `command` is what it
// asks for; it must live as long as `app`.
void AddSegmentCommands(CLI::App& app, SegmentCommand& command);
// The same for `jobs`.
void AddJobCommands(CLI::App& app, SegmentCommand& command);

// Work that takes as long as it takes unless --timeout is given has this timeout from then on.
void SetTimeout(SegmentCommand& command, std::chrono::milliseconds timeout);

}  // namespace thermocline::cli
