#include "server/service/segment_requests.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include "fmt/format.h"

#include "storage/types.h"

namespace thermocline::server {
namespace {

constexpr std::string_view kIdPlace = "{id}";
constexpr size_t kMaxIdDigits = 20;

// Protobuf reads messages up to a depth of 100.
constexpr int kMaxPlanDepth = 90;

v1::PlanStep::Kind ToKind(storage::SegmentPlan::Kind kind) {
  using From = storage::SegmentPlan::Kind;
  switch (kind) {
    case From::kUnion:
      return v1::PlanStep::UNION;
    case From::kIntersection:
      return v1::PlanStep::INTERSECTION;
    case From::kDifference:
      return v1::PlanStep::DIFFERENCE;
    case From::kFile:
      return v1::PlanStep::FILE;
    case From::kRecent:
      return v1::PlanStep::RECENT;
    case From::kEmpty:
      return v1::PlanStep::EMPTY;
    case From::kKeptResult:
      return v1::PlanStep::KEPT_RESULT;
    case From::kPart:
      return v1::PlanStep::PART;
    case From::kSource:
      return v1::PlanStep::SOURCE;
  }
  return v1::PlanStep::KIND_UNSPECIFIED;
}

void FillStep(const storage::SegmentPlan& from, int depth, v1::PlanStep& to) {
  to.set_kind(ToKind(from.kind));
  to.set_segment(from.segment);
  to.set_object(from.object);
  to.set_min_count(from.min_count);
  to.set_max_count(from.max_count);
  to.set_estimated_count(from.estimated_count);
  to.set_blocks(from.blocks);
  to.set_bytes(from.bytes);
  to.set_memory_bytes(from.memory_bytes);
  if (from.exact_count) to.set_exact_count(*from.exact_count);
  to.set_blocks_read(from.blocks_read);
  to.set_bytes_read(from.bytes_read);
  if (depth == kMaxPlanDepth) return;
  for (const storage::SegmentPlan& input : from.inputs) FillStep(input, depth + 1, *to.add_inputs());
}

}  // namespace

absl::Status CheckSegmentName(std::string_view field, std::string_view name) {
  if (name.empty()) {
    return absl::InvalidArgumentError(fmt::format("{} is empty: give the name of a segment, 1 to {} bytes",
                                                  field, storage::kMaxSegmentNameBytes));
  }
  if (name.size() > storage::kMaxSegmentNameBytes) {
    return absl::InvalidArgumentError(fmt::format("{} has {} bytes; a segment's name has at most {}", field,
                                                  name.size(), storage::kMaxSegmentNameBytes));
  }
  const auto control = std::find_if(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f;
  });
  if (control == name.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} has a control character at byte {}: leave it out of the segment's name", field,
                  control - name.begin()));
}

absl::Status CheckExpression(std::string_view expression) {
  if (expression.empty()) {
    return absl::InvalidArgumentError(
        "expression is empty: name a segment, or combine several, as in (city:ny & bought:2025) - "
        "bought:2026");
  }
  if (expression.size() <= storage::kMaxExpressionBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("expression has {} bytes; the limit is {}: store a part of it as a segment, and name that",
                  expression.size(), storage::kMaxExpressionBytes));
}

absl::StatusOr<storage::SegmentQueryOptions> ToQueryOptions(const v1::QueryRequest& request) {
  if (absl::Status status = CheckExpression(request.expression()); !status.ok()) return status;
  storage::SegmentQueryOptions options;
  options.limit = request.limit();
  if (request.has_after()) options.after = request.after();
  options.use_kept_result = !request.fresh();
  return options;
}

absl::StatusOr<KeyPattern> KeyPattern::Parse(std::string_view pattern) {
  KeyPattern parsed;
  std::string_view rest = pattern;
  for (size_t at; (at = rest.find(kIdPlace)) != std::string_view::npos;) {
    parsed.texts_.emplace_back(rest.substr(0, at));
    rest.remove_prefix(at + kIdPlace.size());
  }
  if (parsed.texts_.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("key_pattern {}: write {} where the id stands in the keys, as in user:{}",
                    pattern.empty() ? "is empty" : "has no place for the id", kIdPlace, kIdPlace));
  }
  parsed.texts_.emplace_back(rest);
  const size_t places = parsed.texts_.size() - 1;
  const size_t longest = pattern.size() - places * kIdPlace.size() + places * kMaxIdDigits;
  if (longest <= storage::kMaxKeyBytes) return parsed;
  return absl::InvalidArgumentError(
      fmt::format("key_pattern makes keys of up to {} bytes; the limit is {}: shorten it", longest,
                  storage::kMaxKeyBytes));
}

std::string KeyPattern::Key(uint64_t id) const {
  char digits[kMaxIdDigits];
  const std::string_view text(digits, std::to_chars(digits, std::end(digits), id).ptr - digits);
  std::string key = texts_.front();
  for (size_t i = 1; i < texts_.size(); ++i) key.append(text).append(texts_[i]);
  return key;
}

void FillProgress(const storage::SegmentQueryProgress& from, v1::Progress& to) {
  to.set_ids(from.ids);
  to.set_max_ids(from.max_ids);
  to.set_blocks(from.blocks);
  to.set_blocks_read(from.blocks_read);
  to.set_blocks_passed(from.blocks_passed);
  to.set_bytes_read(from.bytes_read);
  to.set_elapsed_ms(from.elapsed_ms);
  to.set_memory_bytes(from.memory_bytes);
  to.set_from_kept_result(from.from_kept_result);
}

void FillSegment(const storage::SegmentInfo& from, v1::Segment& to) {
  to.set_name(from.name);
  to.set_version(from.version);
  to.set_min_count(from.min_count);
  to.set_max_count(from.max_count);
  to.set_recent_changes(from.recent_changes);
  to.set_bytes(from.bytes);
  to.set_files(from.files);
  to.set_created_at_ms(from.created_at_ms);
  to.set_changed_at_ms(from.changed_at_ms);
}

void FillPlan(const storage::SegmentPlan& from, v1::PlanStep& to) { FillStep(from, 1, to); }

}  // namespace thermocline::server
