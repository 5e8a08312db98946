#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "storage/segments.h"
#include "thermocline/v1/segments.pb.h"

namespace thermocline::server {

// A query, from when it is asked for on, that can be cancelled at any time, also while it waits for memory or
// works. Thread-safe.
class HeldQuery {
 public:
  // Not called once it was cancelled. Who works with the query later should keep no reference of its own.
  using Opened = absl::AnyInvocable<void(absl::StatusOr<std::shared_ptr<storage::SegmentQuery>>)>;

  HeldQuery();
  HeldQuery(HeldQuery&&) = default;
  // Cancels it.
  ~HeldQuery();

  // Once. `segments` must outlive every operation.
  void Open(storage::Segments& segments, std::string_view expression, storage::SegmentQueryOptions options,
            Opened opened);

  void Cancel();

  // nullptr: it is not open yet, or was cancelled.
  std::shared_ptr<storage::SegmentQuery> query() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// The responses of Segments.Query, made when they are asked for. Destroying it cancels the query, also while
// a response is being made.
class SegmentReader {
 public:
  // The request must be in order.
  SegmentReader(storage::Segments& segments, const v1::QueryRequest& request,
                const storage::SegmentQueryOptions& options);

  // Makes the next response, says whether more follow, or why the query failed. `response` must be empty and
  // live as long as `done`, which is called once, during the call or later, unless this is destroyed before;
  // not before that, nor after the last.
  using PageDone = absl::AnyInvocable<void(absl::StatusOr<bool>)>;
  void Next(v1::QueryResponse* response, PageDone done);

 private:
  struct Pages;
  static void Read(const std::shared_ptr<storage::SegmentQuery>& query, const std::shared_ptr<Pages>& pages,
                   v1::QueryResponse* response, PageDone done);

  storage::Segments& segments_;
  std::string expression_;
  storage::SegmentQueryOptions options_;
  HeldQuery held_;
  std::shared_ptr<Pages> pages_;  // with work that is under way
};

}  // namespace thermocline::server
