#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "storage/sort/field_reader.h"
#include "storage/sort/interval_fields.h"
#include "storage/timeline.h"

namespace thermocline::storage::sort {

// Makes intervals of two fields, and gives them to a timeline. For one thread at a time.
class IntervalTaker {
 public:
  // All must outlive it.
  IntervalTaker(const IntervalShape& shape, Timeline& timeline)
      : shape_(shape), fields_(shape), timeline_(timeline) {}

  // A row with these fields. INVALID_ARGUMENT: what is wrong with it. Others: the timeline's.
  absl::Status Take(const Field& start, const Field& end);
  // OK if the row may be left out: the status says what is wrong with the row that `place` ("line 3") names.
  absl::Status Reject(std::string_view place, const absl::Status& status);
  // After the last row.
  absl::Status Flush();

  // So far; `rows` is whose calls these are.
  IntervalSummary& summary() { return summary_; }

 private:
  const IntervalShape& shape_;
  IntervalFields fields_;
  Timeline& timeline_;
  std::vector<Interval> intervals_;
  IntervalSummary summary_;
};

}  // namespace thermocline::storage::sort
