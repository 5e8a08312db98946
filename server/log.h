#pragma once

#include <string>

namespace thermocline::server {

// Sends the process's log, spdlog's default logger, to stderr, one line for each event: time, level, text.
// `level` is one that Config allows. Call once, before anything logs.
void StartLog(const std::string& level);

}  // namespace thermocline::server
