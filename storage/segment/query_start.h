#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/segment/core.h"
#include "storage/segment/expression.h"
#include "storage/segment/planner.h"
#include "storage/segment/query.h"
#include "storage/segment/source_fetch.h"
#include "storage/segments.h"

namespace thermocline::storage::segment {

// At most 200 bytes of a text, for lists of what goes on.
std::string Shortened(const std::string& text);

// What comes before a query reads: a text becomes a plan at one moment, ids of sources are fetched, memory is
// waited for, and what does not fit it is computed in parts, each a file that is removed with the query.
//
// One step after the other: Parse, Look, Begin. Completions come on the executor.
class QueryStart : public std::enable_shared_from_this<QueryStart> {
 public:
  static absl::StatusOr<std::shared_ptr<QueryStart>> Parse(std::shared_ptr<Core> core, std::string_view text,
                                                           const SegmentQueryOptions& options);

  // Finds out what there is to read. Without `fetch`, sources whose ids are not kept stay what they are.
  void Look(bool fetch, absl::AnyInvocable<void(absl::Status)> done);

  // Once that has come; for people.
  SegmentExplanation Explain() const;

  // Once that has come, with all sources fetched.
  void Begin(absl::AnyInvocable<void(absl::StatusOr<std::unique_ptr<SegmentQuery>>)> done);

  // Once that has come: what is read of each file, in the order of the plan.
  const std::vector<std::shared_ptr<ReadCounts>>& leaves() const { return leaves_; }

 private:
  using Begun = absl::AnyInvocable<void(absl::StatusOr<std::unique_ptr<SegmentQuery>>)>;

  QueryStart(std::shared_ptr<Core> core, const SegmentQueryOptions& options)
      : core_(std::move(core)), options_(options) {}

  void FetchAll(const std::vector<Expression>& sources, absl::AnyInvocable<void(absl::Status)> done);
  void Take(const std::string& source, FetchedSource fetched);
  absl::Status CheckNames();
  absl::Status LookNow();
  void UseKept();
  // Sets how much memory a plan takes.
  void Measure(const Plan& plan);
  // Asks for memory, and goes on with it.
  void Await(uint64_t bytes, absl::AnyInvocable<void()> then);
  void GoOn();
  void ComputePart(Plan& part, size_t window);
  void Open();
  absl::StatusOr<std::unique_ptr<SegmentQuery>> MakeQuery();
  std::optional<SegmentQuery::Impl::Keeping> Keeping() const;
  void End(absl::StatusOr<std::unique_ptr<SegmentQuery>> result);

  const std::shared_ptr<Core> core_;
  const SegmentQueryOptions options_;
  std::string text_;
  Expression normal_;
  std::string normalized_;
  std::shared_ptr<Core::Reading> reading_;
  SourceFiles sources_;
  std::vector<std::string> source_keys_;
  Resolved resolved_;
  std::optional<ResultEntry> kept_;
  bool is_kept_ = false;  // the plan is to read it, not only its count is known
  uint64_t input_bytes_ = 0;
  size_t window_ = 0;
  uint64_t memory_ = 0;
  std::vector<std::shared_ptr<ReadCounts>> leaves_;
  Begun begun_;
};

}  // namespace thermocline::storage::segment
