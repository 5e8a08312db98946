#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/engine.h"
#include "storage/executor.h"
#include "storage/object_store.h"
#include "storage/segments.h"
#include "thermocline/v1/segments.pb.h"

namespace thermocline::server {

class SegmentTimelineReader;

// Timelines of intervals that are values of the ids of an expression. What does not fit in memory goes to
// objects whose names begin with kFolder, and goes with the call. Thread-safe.
//
// Memory: Timeline and the reading of JSON take theirs from that of segments, with the query, as long as the
// call lives; what is read ahead of values comes on top, as that of QueryValues does.
class SegmentTimelines {
 public:
  static constexpr char kFolder[] = "timelines/";

  // Removes what a crash has left in the folder. `memory_bytes`: of the segments; timelines take a sixteenth
  // of it each, 4 MiB at least and 64 MiB at most. `outside` waits for the store. All must outlive it.
  static absl::StatusOr<std::unique_ptr<SegmentTimelines>> Open(storage::Segments& segments,
                                                                storage::Engine& engine,
                                                                storage::ObjectStore& objects,
                                                                storage::Executor& outside,
                                                                uint64_t memory_bytes);

  // All readers must have been destroyed. Waits until what they held has been let go of, on `outside`.
  ~SegmentTimelines();

  //   INVALID_ARGUMENT    the request is not in order
  //   RESOURCE_EXHAUSTED  segments have less than 16 MiB
  absl::StatusOr<SegmentTimelineReader> Read(const v1::TimelineRequest& request);

 private:
  friend class SegmentTimelineReader;
  class World;
  explicit SegmentTimelines(std::shared_ptr<World> world);

  const std::shared_ptr<World> world_;
};

// The responses of Segments.Timeline, made when they are asked for. Destroying it cancels the work, also
// while a response is being made; what it holds is let go of soon.
class SegmentTimelineReader {
 public:
  SegmentTimelineReader(SegmentTimelineReader&&) = default;
  ~SegmentTimelineReader();

  // As SegmentReader::Next.
  using PageDone = absl::AnyInvocable<void(absl::StatusOr<bool>)>;
  void Next(v1::TimelineResponse* response, PageDone done);

 private:
  friend class SegmentTimelines;
  class Work;
  explicit SegmentTimelineReader(std::shared_ptr<Work> work);

  std::shared_ptr<Work> work_;
};

}  // namespace thermocline::server
