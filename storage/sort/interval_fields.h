#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"

#include "storage/sort/field_reader.h"
#include "storage/timeline.h"

namespace thermocline::storage::sort {

// What the two fields of a row, or of a value, say of its interval. For one thread at a time.
class IntervalFields {
 public:
  // `shape` must outlive it.
  explicit IntervalFields(const IntervalShape& shape) : shape_(shape) {}

  // `fields`: start and end. nullopt: it has not started. INVALID_ARGUMENT: what is wrong with it.
  absl::StatusOr<std::optional<Interval>> Read(std::span<const Field, 2> fields);

  uint64_t inverted() const { return inverted_; }
  bool numbers() const { return numbers_; }  // all times were

 private:
  absl::StatusOr<Moment> ToMoment(const Field& field, const std::string& name);

  const IntervalShape& shape_;
  uint64_t inverted_ = 0;
  bool numbers_ = true;
};

}  // namespace thermocline::storage::sort
