#include "storage/sort/interval_fields.h"

#include <cmath>
#include <string_view>

#include <fmt/format.h>

namespace thermocline::storage::sort {
namespace {

constexpr double kMaxReal = 9.2e18;
constexpr size_t kShownBytes = 60;

bool IsOpen(const Field& field) {
  return field.kind == Field::Kind::kMissing || field.kind == Field::Kind::kNull ||
         (field.kind == Field::Kind::kString && field.text.empty());
}

// The beginning of a text, in whole characters.
std::string_view Beginning(std::string_view text) {
  if (text.size() <= kShownBytes) return text;
  size_t end = kShownBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace

absl::StatusOr<std::optional<Interval>> IntervalFields::Read(std::span<const Field, 2> fields) {
  if (IsOpen(fields[0])) return std::nullopt;
  const absl::StatusOr<Moment> start = ToMoment(fields[0], shape_.start);
  if (!start.ok()) return start.status();
  if (*start == kNever) return std::nullopt;
  const absl::StatusOr<Moment> end = IsOpen(fields[1]) ? kNever : ToMoment(fields[1], shape_.end);
  if (!end.ok()) return end.status();
  if (*end < *start || *end == kAlways) {
    ++inverted_;
    return absl::InvalidArgumentError(fmt::format("the interval ends before it starts: {} is {}, {} is {}",
                                                  shape_.start, FormatMoment(*start), shape_.end,
                                                  FormatMoment(*end)));
  }
  return Interval{*start, *end};
}

absl::StatusOr<Moment> IntervalFields::ToMoment(const Field& field, const std::string& name) {
  if (field.kind == Field::Kind::kString) {
    numbers_ = false;
    if (const std::optional<Moment> moment = ParseMoment(field.text)) return *moment;
    return absl::InvalidArgumentError(
        fmt::format("{} is no time: \"{}\"; write 2025-07-01T12:30:00Z, or a number since 1970", name,
                    Beginning(field.text)));
  }
  Moment moment = 0;
  if (field.kind == Field::Kind::kSigned && !__builtin_mul_overflow(field.number, shape_.unit, &moment))
    return moment;
  const double real = field.real * static_cast<double>(shape_.unit);
  if (field.kind == Field::Kind::kDouble && std::abs(real) < kMaxReal) return std::llround(real);
  return absl::InvalidArgumentError(fmt::format("{} is no time, or one that is too far away", name));
}

}  // namespace thermocline::storage::sort
