#include "storage/sort/interval_taker.h"

#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace thermocline::storage::sort {
namespace {

constexpr size_t kBatch = 4096;  // intervals
constexpr size_t kShownBytes = 60;
constexpr double kMaxReal = 9.2e18;

bool IsOpen(const Field& field) {
  return field.kind == Field::Kind::kMissing || field.kind == Field::Kind::kNull ||
         (field.kind == Field::Kind::kString && field.text.empty());
}

}  // namespace

absl::Status IntervalTaker::Take(const Field& start_field, const Field& end_field) {
  if (IsOpen(start_field)) {
    ++summary_.not_started;
    return absl::OkStatus();
  }
  const absl::StatusOr<Moment> start = ToMoment(start_field, shape_.start);
  if (!start.ok()) return start.status();
  if (*start == kNever) {
    ++summary_.not_started;
    return absl::OkStatus();
  }
  const absl::StatusOr<Moment> end = IsOpen(end_field) ? kNever : ToMoment(end_field, shape_.end);
  if (!end.ok()) return end.status();
  if (*end < *start || *end == kAlways) {
    ++summary_.inverted;
    return absl::InvalidArgumentError(fmt::format("the interval ends before it starts: {} is {}, {} is {}",
                                                  shape_.start, FormatMoment(*start), shape_.end,
                                                  FormatMoment(*end)));
  }
  intervals_.push_back({*start, *end});
  return intervals_.size() < kBatch ? absl::OkStatus() : Flush();
}

absl::Status IntervalTaker::Reject(std::string_view place, const absl::Status& status) {
  if (!absl::IsInvalidArgument(status)) return status;
  std::string message = fmt::format("{}: {}", place, std::string(status.message()));
  if (!shape_.skip_invalid) return absl::InvalidArgumentError(message);
  if (summary_.invalid++ == 0) summary_.first_invalid = std::move(message);
  return absl::OkStatus();
}

absl::Status IntervalTaker::Flush() {
  absl::Status status = timeline_.Add(intervals_);
  intervals_.clear();
  return status;
}

absl::StatusOr<Moment> IntervalTaker::ToMoment(const Field& field, const std::string& name) {
  if (field.kind == Field::Kind::kString) {
    summary_.numbers = false;
    if (const std::optional<Moment> moment = ParseMoment(field.text)) return *moment;
    return absl::InvalidArgumentError(
        fmt::format("{} is no time: \"{}\"; write 2025-07-01T12:30:00Z, or a number since 1970", name,
                    field.text.substr(0, kShownBytes)));
  }
  Moment moment = 0;
  if (field.kind == Field::Kind::kSigned && !__builtin_mul_overflow(field.number, shape_.unit, &moment))
    return moment;
  const double real = field.real * static_cast<double>(shape_.unit);
  if (field.kind == Field::Kind::kDouble && std::abs(real) < kMaxReal) return std::llround(real);
  return absl::InvalidArgumentError(fmt::format("{} is no time, or one that is too far away", name));
}

}  // namespace thermocline::storage::sort
