#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

#include "client/segments.h"

// What the segment commands print, for people and for programs. The names in JSON are those of
// proto/thermocline/v1/segments.proto.
namespace thermocline::cli {

// Columns below each other, two spaces apart; the first line is the heading. In columns of `numbers` the
// texts end below each other, else they begin so.
std::string Table(const std::vector<std::vector<std::string>>& lines, const std::vector<bool>& numbers);

// "1 ids" would be wrong.
std::string FormatIds(uint64_t count);
// "1 234", or "1 000..1 200" where only bounds are known.
std::string FormatBounds(uint64_t min, uint64_t max);

// "1 234 ids in 120 ms, 34 of 1 500 blocks read, from a kept result"
std::string QuerySummary(uint64_t ids, std::chrono::milliseconds elapsed, const SegmentProgress& progress);
// "[#####---------------]  25 %  1 234 ids of at most 5 000  34 of 1 500 blocks  1.2 s"
std::string QueryProgressLine(const SegmentProgress& progress, std::chrono::milliseconds elapsed);

// A table of segments; a line for each.
std::string SegmentTable(const std::vector<SegmentInfo>& segments);
// Everything about one.
std::string SegmentText(const SegmentInfo& segment);

nlohmann::ordered_json ToJson(const SegmentInfo& segment);
// "[#####---------------]  25 %  writing  1 234 ids  1 000/s  12 KiB  2.1 s left"
std::string JobProgressLine(const SegmentJob& job);
// A table of jobs; a line for each.
std::string JobTable(const std::vector<SegmentJob>& jobs);
// "1 234 ids, 12 KiB, SHA-256 ..., in 2.1 s"
std::string JobSummary(const SegmentJob& job);

nlohmann::ordered_json ToJson(const SegmentProgress& progress);
nlohmann::ordered_json ToJson(const SegmentJob& job);

}  // namespace thermocline::cli
