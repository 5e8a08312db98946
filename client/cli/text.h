#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Numbers, durations and bytes as people read and write them.
namespace thermocline::cli {

// "500ms", "90s", "10m", "12h", "30d", and sums such as "1h30m". Greater than zero. INVALID_ARGUMENT
// otherwise.
absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text);

// Two units at most: "350 ms", "9.8 s", "9 m 58 s", "3 d 4 h".
std::string FormatDuration(std::chrono::milliseconds duration);

// "512 B", "1.5 KiB", "17.1 MiB".
std::string FormatBytes(uint64_t bytes);

// With a space between thousands: "150 000".
std::string FormatCount(uint64_t count);

// One line: what cannot be printed as \n, \t, \\ or \xHH; text longer than `max_bytes` is cut, and says how
// long it is.
std::string FormatText(std::string_view bytes, size_t max_bytes);

// "UNAVAILABLE: the message".
std::string FormatStatus(const absl::Status& status);

// True if these bytes are well-formed UTF-8 (without surrogates and overlong forms).
bool IsUtf8(std::string_view bytes);

}  // namespace thermocline::cli
