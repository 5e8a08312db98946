#include "storage/sort/interval_taker.h"

#include <array>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include <fmt/format.h>

namespace thermocline::storage::sort {
namespace {

constexpr size_t kBatch = 4096;  // intervals

}  // namespace

absl::Status IntervalTaker::Take(const Field& start, const Field& end) {
  const std::array<Field, 2> both = {start, end};
  const absl::StatusOr<std::optional<Interval>> interval = fields_.Read(both);
  summary_.inverted = fields_.inverted();
  summary_.numbers = fields_.numbers();
  if (!interval.ok()) return interval.status();
  if (!interval->has_value()) {
    ++summary_.not_started;
    return absl::OkStatus();
  }
  intervals_.push_back(**interval);
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

}  // namespace thermocline::storage::sort
