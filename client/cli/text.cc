#include "client/cli/text.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "fmt/format.h"

namespace thermocline::cli {
namespace {

using std::chrono::milliseconds;

struct Unit {
  std::string_view name;
  int64_t ms;
};

constexpr std::array<Unit, 5> kUnits = {
    {{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}}};

// Longer than any time to live, and far from where the sums below would overflow.
constexpr int64_t kMaxMs = int64_t{1} << 53;

absl::Status NotADuration(std::string_view text) {
  return absl::InvalidArgumentError(
      fmt::format("\"{}\" is not a duration: write a number greater than 0 and a unit, ms, s, m, h or d, as "
                  "in 10m or 1h30m",
                  text));
}

// The length of the well-formed UTF-8 sequence that `bytes` begins with; 0 if there is none.
size_t SequenceLength(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || bytes.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  if (first == 0xE0 && second < 0xA0) return 0;  // overlong
  if (first == 0xED && second > 0x9F) return 0;  // a surrogate
  if (first == 0xF0 && second < 0x90) return 0;  // overlong
  if (first == 0xF4 && second > 0x8F) return 0;  // beyond U+10FFFF
  return length;
}

}  // namespace

absl::StatusOr<milliseconds> ParseDuration(std::string_view text) {
  int64_t total = 0;
  std::string_view rest = text;
  while (!rest.empty()) {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error != std::errc() || number < 0) return NotADuration(text);
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    const std::string_view name = rest.substr(0, std::min(rest.find_first_of("0123456789-"), rest.size()));
    const auto* unit =
        std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == name; });
    if (unit == kUnits.end() || number > kMaxMs / unit->ms) return NotADuration(text);
    total = std::min(total + number * unit->ms, kMaxMs);
    rest.remove_prefix(name.size());
  }
  if (total == 0) return NotADuration(text);
  return milliseconds(total);
}

std::string FormatDuration(milliseconds duration) {
  const int64_t ms = duration.count();
  if (ms < 1000) return fmt::format("{} ms", ms);
  if (ms < 60'000) return fmt::format("{:.1f} s", static_cast<double>(ms) / 1000);
  size_t unit = 0;
  while (ms < kUnits[unit].ms) ++unit;
  const int64_t whole = ms / kUnits[unit].ms;
  const int64_t rest = ms % kUnits[unit].ms / kUnits[unit + 1].ms;
  return fmt::format("{} {} {} {}", whole, kUnits[unit].name, rest, kUnits[unit + 1].name);
}

std::string FormatBytes(uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kNames = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double amount = static_cast<double>(bytes) / 1024;
  size_t name = 0;
  while (amount >= 1024 && name + 1 < kNames.size()) {
    amount /= 1024;
    ++name;
  }
  return fmt::format("{:.1f} {}", amount, kNames[name]);
}

std::string FormatCount(uint64_t count) {
  std::string digits = std::to_string(count);
  for (size_t i = digits.size(); i > 3;) digits.insert(i -= 3, 1, ' ');
  return digits;
}

std::string FormatText(std::string_view bytes, size_t max_bytes) {
  std::string out;
  std::string_view rest = bytes.substr(0, max_bytes);
  while (!rest.empty()) {
    const size_t length = SequenceLength(rest);
    const auto first = static_cast<unsigned char>(rest[0]);
    if (length > 1 || (length == 1 && first >= 0x20 && first != 0x7F && first != '\\')) {
      out += rest.substr(0, length);
    } else if (first == '\n') {
      out += "\\n";
    } else if (first == '\t') {
      out += "\\t";
    } else if (first == '\\') {
      out += "\\\\";
    } else {
      out += fmt::format("\\x{:02x}", first);
    }
    rest.remove_prefix(std::max<size_t>(length, 1));
  }
  if (bytes.size() > max_bytes) out += fmt::format("... ({})", FormatBytes(bytes.size()));
  return out;
}

std::string FormatStatus(const absl::Status& status) {
  return fmt::format("{}: {}", absl::StatusCodeToString(status.code()), std::string(status.message()));
}

bool IsUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t length = SequenceLength(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

}  // namespace thermocline::cli
