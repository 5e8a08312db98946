#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "storage/timeline.h"

namespace thermocline::storage {
namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;
constexpr size_t kFractionDigits = 6;

// Takes what it can from the front of a text.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}

  bool ended() const { return rest_.empty(); }

  bool TakeAny(std::string_view characters) {
    if (rest_.empty() || characters.find(rest_[0]) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // Exactly so many digits, up to `most`.
  bool TakeNumber(size_t digits, int64_t most, int64_t& number) {
    if (rest_.size() < digits) return false;
    number = 0;
    for (size_t i = 0; i < digits; ++i) {
      if (rest_[i] < '0' || rest_[i] > '9') return false;
      number = 10 * number + (rest_[i] - '0');
    }
    rest_.remove_prefix(digits);
    return number <= most;
  }

  // One or more digits, of which the first six count.
  bool TakeFraction(int64_t& micros) {
    size_t digits = 0;
    micros = 0;
    while (digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9') {
      if (digits < kFractionDigits) micros = 10 * micros + (rest_[digits] - '0');
      ++digits;
    }
    for (size_t i = digits; i < kFractionDigits; ++i) micros *= 10;
    rest_.remove_prefix(digits);
    return digits > 0;
  }

 private:
  std::string_view rest_;
};

bool TakeDate(Cursor& cursor, int64_t& micros) {
  int64_t year = 0;
  int64_t month = 0;
  int64_t day = 0;
  if (!cursor.TakeNumber(4, 9999, year) || !cursor.TakeAny("-") || !cursor.TakeNumber(2, 12, month) ||
      !cursor.TakeAny("-") || !cursor.TakeNumber(2, 31, day)) {
    return false;
  }
  const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(year)),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day)));
  if (!date.ok()) return false;
  micros = std::chrono::sys_days(date).time_since_epoch().count() * kDay;
  return true;
}

// Leap seconds count as the first second of the next minute.
bool TakeTime(Cursor& cursor, int64_t& micros) {
  int64_t hour = 0;
  int64_t minute = 0;
  int64_t second = 0;
  int64_t fraction = 0;
  if (!cursor.TakeNumber(2, 23, hour) || !cursor.TakeAny(":") || !cursor.TakeNumber(2, 59, minute))
    return false;
  if (cursor.TakeAny(":") && !cursor.TakeNumber(2, 60, second)) return false;
  if (cursor.TakeAny(".,") && !cursor.TakeFraction(fraction)) return false;
  micros += hour * kHour + minute * kMinute + second * kSecond + fraction;
  return true;
}

bool TakeZone(Cursor& cursor, int64_t& micros) {
  if (cursor.ended() || cursor.TakeAny("Zz")) return true;
  const bool west = cursor.TakeAny("-");
  if (!west && !cursor.TakeAny("+")) return false;
  int64_t hour = 0;
  int64_t minute = 0;
  if (!cursor.TakeNumber(2, 23, hour)) return false;
  const bool colon = cursor.TakeAny(":");
  if ((colon || !cursor.ended()) && !cursor.TakeNumber(2, 59, minute)) return false;
  micros += (west ? 1 : -1) * (hour * kHour + minute * kMinute);
  return true;
}

}  // namespace

std::optional<Moment> ParseMoment(std::string_view text) {
  if (text == "infinity") return kNever;
  if (text == "-infinity") return kAlways;
  Cursor cursor(text);
  int64_t micros = 0;
  if (!TakeDate(cursor, micros)) return std::nullopt;
  if (cursor.ended()) return micros;
  if (!cursor.TakeAny("Tt ") || !TakeTime(cursor, micros)) return std::nullopt;
  cursor.TakeAny(" ");
  if (!TakeZone(cursor, micros) || !cursor.ended()) return std::nullopt;
  return micros;
}

std::string FormatMoment(Moment moment) {
  if (moment == kNever) return "infinity";
  if (moment == kAlways) return "-infinity";
  const std::chrono::microseconds since(moment);
  const auto day = std::chrono::floor<std::chrono::days>(since);
  const std::chrono::year_month_day date{std::chrono::sys_days(day)};
  const int64_t micros = (since - day).count();
  std::string text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                                 static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                                 micros / kHour, micros % kHour / kMinute, micros % kMinute / kSecond);
  if (micros % kSecond != 0) {
    text += fmt::format(".{:06}", micros % kSecond);
    text.erase(text.find_last_not_of('0') + 1);
  }
  return text + "Z";
}

}  // namespace thermocline::storage
