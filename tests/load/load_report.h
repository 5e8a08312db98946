#pragma once

#include <string>

#include "tests/load/load_run.h"

namespace thermocline::load {

// "1 234 567".
std::string GroupedCount(uint64_t number);
// "85.3 us", "1.20 ms", "2.5 s"; "-" for what is not a number.
std::string ShortTime(double seconds);

// What is going to be done, in one line.
std::string DescribeRun(const LoadOptions& options);
// How a phase is doing, in one line: its last second.
std::string LiveLine(const LoadResult& so_far);
// The result, for people: several lines, of which the last is "<operations a second>, p99 <time>".
std::string FinalTable(const LoadResult& result);
// What segments cost gets and sets: those beside segments, compared with those alone, before and after.
std::string ContrastTable(const LoadResult& before, const LoadResult& beside, const LoadResult& after);
// The result and more, for programs.
std::string ResultJson(const LoadOptions& options, const LoadResult& result);
// Throughput and latency over time, and the latency's distribution.
std::string ResultSvg(const LoadOptions& options, const LoadResult& result);

}  // namespace thermocline::load
