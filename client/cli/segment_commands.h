#pragma once

#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/segment_command_line.h"

// One function for each command of `thermocline segment`, as in commands.h.
namespace thermocline::cli {

ExitCode Execute(const SegmentChangeCommand& command, Context& context);
ExitCode Execute(const SegmentQueryCommand& command, Context& context);
ExitCode Execute(const SegmentValuesCommand& command, Context& context);
ExitCode Execute(const SegmentTimelineCommand& command, Context& context);
ExitCode Execute(const SegmentCountCommand& command, Context& context);
ExitCode Execute(const SegmentExplainCommand& command, Context& context);
ExitCode Execute(const SegmentStoreCommand& command, Context& context);
ExitCode Execute(const SegmentExportCommand& command, Context& context);
ExitCode Execute(const JobListCommand& command, Context& context);
ExitCode Execute(const JobWatchCommand& command, Context& context);
ExitCode Execute(const JobCancelCommand& command, Context& context);
ExitCode Execute(const SegmentListCommand& command, Context& context);
ExitCode Execute(const SegmentDescribeCommand& command, Context& context);
ExitCode Execute(const SegmentDropCommand& command, Context& context);

}  // namespace thermocline::cli
