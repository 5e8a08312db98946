#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "client/cli/exit_code.h"
#include "client/cli/record_reader.h"
#include "client/cli/segment_command_line.h"
#include "client/cli/sort_command_line.h"
#include "client/cli/timeline_command_line.h"
#include "client/client.h"

// What the words of a command line ask for. Everything that can be checked without the server has been.
namespace thermocline::cli {

struct GetCommand {
  std::string key;        // empty: keys_from is set
  std::string keys_from;  // a file of keys, one a line
  bool timing = false;    // tell how long the reads took instead of what they read
};

struct SetCommand {
  std::string key;
  std::string value;
  bool value_from_input = false;
  SetOptions options;
};

struct DelCommand {
  std::string key;
  DeleteOptions options;
};

struct ExistsCommand {
  std::string key;
};

struct ScanCommand {
  std::string prefix;
  uint64_t limit = 0;
  bool keys_only = false;
};

struct StatsCommand {};

struct CompactCommand {
  CompactOptions options;
};

struct ImportCommand {
  std::string file;
  RecordShape shape;
  Durability durability = Durability::kSync;
  bool stop_on_error = false;
  bool verify = false;    // compare instead of write
  std::string only_keys;  // a file of keys; empty: all
  std::string acked_log;  // empty: none
  storage::S3Options s3;
};

struct ExportCommand {
  std::string prefix;
  std::string output;  // empty: standard output
  storage::S3Options s3;
};

using Command =
    std::variant<GetCommand, SetCommand, DelCommand, ExistsCommand, ScanCommand, StatsCommand, CompactCommand,
                 ImportCommand, ExportCommand, SegmentCommand, SortCommand, TimelineCommand>;

struct Invocation {
  std::string server;
  std::optional<TlsOptions> tls;  // nullopt: plain text
  std::chrono::milliseconds timeout{0};
  bool json = false;
  Command command;
};

// The program ends without a command: after help, or because of a mistake in the arguments.
struct Ending {
  ExitCode code = kOk;
  std::string text;  // for standard output if the code is kOk, else for standard error
};

// `arguments` without the program's name.
std::variant<Invocation, Ending> ParseCommandLine(const std::vector<std::string>& arguments);

}  // namespace thermocline::cli
