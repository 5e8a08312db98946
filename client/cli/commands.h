#pragma once

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

#include "client/cli/command_line.h"
#include "client/cli/exit_code.h"
#include "client/cli/io.h"
#include "client/client.h"

// One function for each command. They write results to io.out and what went wrong to io.err.
namespace thermocline::cli {

// As much of a value as is printed for people.
inline constexpr size_t kShownValueBytes = 120;

struct Context {
  Client& client;
  Io& io;
  bool json = false;
};

// For commands that need no server.
struct LocalContext {
  Io& io;
  bool json = false;
};

ExitCode Execute(const SortCommand& command, LocalContext& context);
ExitCode Execute(const TimelineCommand& command, LocalContext& context);

ExitCode Execute(const GetCommand& command, Context& context);
ExitCode Execute(const SetCommand& command, Context& context);
ExitCode Execute(const DelCommand& command, Context& context);
ExitCode Execute(const ExistsCommand& command, Context& context);
ExitCode Execute(const ScanCommand& command, Context& context);
ExitCode Execute(const StatsCommand& command, Context& context);
ExitCode Execute(const CompactCommand& command, Context& context);
ExitCode Execute(const ImportCommand& command, Context& context);
ExitCode Execute(const ExportCommand& command, Context& context);
ExitCode Execute(const SegmentCommand& command, Context& context);

// Tells that a key is not there.
ExitCode NotFound(const std::string& key, Context& context);
// Prints the failure of a call, with further lines of its message below each other; returns the exit code for
// it.
ExitCode FailCall(const absl::Status& status, Io& io);
// Prints the failure of a file; returns the exit code for it.
ExitCode FailFile(const absl::Status& status, Io& io);

// Calls `use` with each key of a file as KeyLine writes them, one a line, until it returns false. Returns why
// the file cannot be read, naming the line.
absl::Status ForEachKey(const std::string& path, int standard_input,
                        absl::FunctionRef<bool(std::string key)> use);

}  // namespace thermocline::cli
