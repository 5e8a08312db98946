#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace thermocline::cli {

// One key and its value, on their way from a file to the server.
struct Record {
  uint64_t line = 0;  // of the input, where it begins
  std::string key;
  std::string value;
  std::optional<std::chrono::milliseconds> ttl;
};

}  // namespace thermocline::cli
