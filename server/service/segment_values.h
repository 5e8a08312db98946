#pragma once

#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "server/service/segment_requests.h"
#include "storage/engine.h"
#include "storage/segments.h"
#include "thermocline/v1/segments.pb.h"

namespace thermocline::server {

// The responses of Segments.QueryValues, made when they are asked for: the values of some ids are read ahead,
// a few megabytes at most. Destroying it cancels the query, also while a response is being made; what the
// engine is reading then is thrown away when it comes.
class SegmentValuesReader {
 public:
  // The request must be in order. Segments and engine must outlive every operation of theirs.
  SegmentValuesReader(storage::Segments& segments, storage::Engine& engine, const v1::QueryRequest& request,
                      const storage::SegmentQueryOptions& options, KeyPattern keys);
  SegmentValuesReader(SegmentValuesReader&&) = default;
  ~SegmentValuesReader();

  // As SegmentReader::Next.
  using PageDone = absl::AnyInvocable<void(absl::StatusOr<bool>)>;
  void Next(v1::QueryValuesResponse* response, PageDone done);

 private:
  class Work;
  std::shared_ptr<Work> work_;  // with gets that are under way
};

}  // namespace thermocline::server
