#pragma once

#include <chrono>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/segment_objects.h"
#include "storage/engine.h"
#include "storage/segments.h"
#include "thermocline/v1/admin.pb.h"

namespace thermocline::server {

// The methods of admin.proto (which says what they mean), whatever brings the messages. Thread-safe.
class AdminService {
 public:
  // `segments` and `objects` may be nullptr: there are none. All must outlive the service and every
  // operation. Uptime counts from here.
  AdminService(storage::Engine& engine, const storage::Segments* segments, const SegmentObjects* objects)
      : engine_(engine), segments_(segments), objects_(objects), started_(std::chrono::steady_clock::now()) {}

  void Stats(const v1::StatsRequest& request, v1::StatsResponse* response);

  // Calls `done` exactly once, during the call or later on a thread of the engine.
  void Flush(const v1::FlushRequest& request, absl::AnyInvocable<void(absl::Status)> done);

  // Calls `done` exactly once, during the call or, perhaps hours later, on a thread of the engine. `request`
  // need not live so long.
  using CompactDone = absl::AnyInvocable<void(absl::StatusOr<v1::CompactResponse>)>;
  void Compact(const v1::CompactRequest& request, CompactDone done);

 private:
  storage::Engine& engine_;
  const storage::Segments* const segments_;
  const SegmentObjects* const objects_;
  const std::chrono::steady_clock::time_point started_;
};

}  // namespace thermocline::server
