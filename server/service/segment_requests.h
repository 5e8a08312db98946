#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/segments.h"
#include "thermocline/v1/segments.pb.h"

namespace thermocline::server {

// What requests of segments.proto mean: checked against the limits of the API and turned into the terms of
// storage::Segments, and back. Every refusal is INVALID_ARGUMENT, names the field and says what to do.

// `field`: what clients call it.
absl::Status CheckSegmentName(std::string_view field, std::string_view name);

// Only what can be said without reading it.
absl::Status CheckExpression(std::string_view expression);

absl::StatusOr<storage::SegmentQueryOptions> ToQueryOptions(const v1::QueryRequest& request);

// A pattern of keys: text with ids in it.
class KeyPattern {
 public:
  static absl::StatusOr<KeyPattern> Parse(std::string_view pattern);

  // A key within the limits of the engine, whatever the id.
  std::string Key(uint64_t id) const;

 private:
  std::vector<std::string> texts_;  // before, between and behind the places of the id
};

void FillProgress(const storage::SegmentQueryProgress& from, v1::Progress& to);
void FillSegment(const storage::SegmentInfo& from, v1::Segment& to);
// A plan that is deeper than clients can read loses what lies below.
void FillPlan(const storage::SegmentPlan& from, v1::PlanStep& to);

}  // namespace thermocline::server
