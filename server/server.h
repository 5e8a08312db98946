#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/config.h"
#include "server/export_targets.h"
#include "server/grpc_endpoint.h"
#include "server/segment_objects.h"
#include "server/service/admin.h"
#include "server/service/jobs.h"
#include "server/service/key_value.h"
#include "server/service/segment_timeline.h"
#include "server/service/segments.h"
#include "storage/disk_reads.h"
#include "storage/engine.h"
#include "storage/object_store.h"
#include "storage/posix_file_system.h"
#include "storage/segments.h"
#include "storage/system_clock.h"
#include "storage/thread_pool.h"

namespace thermocline::server {

// A whole server: the store in its data directory and the endpoint that serves it. Start, stop and destroy it
// on one thread.
class Server {
 public:
  // Opens the store, which may take as long as its recovery, and serves. Every error names the directory or
  // the address, and what is wrong with it.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config);

  // Stops without waiting for calls under way.
  ~Server();

  // Where it serves: "host:port", with the real port.
  const std::string& address() const { return address_; }

  storage::EngineStats Stats() const { return engine_->Stats(); }

  // Refuses new calls, finishes those under way (cancelling after `patience` what has not ended), and syncs.
  // Once. Returns what went wrong with the sync, or with that of the segments.
  absl::Status Stop(std::chrono::milliseconds patience);

 private:
  explicit Server(const Config& config);

  absl::Status Open(const Config& config);
  absl::Status OpenSegments(const Config& config);
  absl::Status OpenExports(const Config& config);
  absl::Status Serve(const Config& config);
  void TrimHeapForEver();

  storage::PosixFileSystem files_;
  storage::SystemClock clock_;
  storage::SystemRandom random_;
  storage::ThreadPool reads_;
  storage::ThreadPool commits_;
  storage::ThreadPool background_;
  storage::ThreadPool queries_;  // of segments
  storage::ThreadPool segment_changes_;
  std::unique_ptr<storage::DiskReads> disk_reads_;
  std::unique_ptr<storage::Engine> engine_;
  std::unique_ptr<SegmentObjects> objects_;
  BucketObjects buckets_;
  // Its tasks write to the two above, and outlive those they belong to.
  storage::ThreadPool outside_;
  std::unique_ptr<storage::Segments> segments_;  // nullptr: none are served
  std::unique_ptr<SegmentTimelines> timelines_;  // likewise
  std::unique_ptr<ExportTargets> export_targets_;
  std::unique_ptr<Jobs> jobs_;  // nullptr: no segments are served
  std::unique_ptr<KeyValueService> key_value_;
  std::unique_ptr<SegmentsService> segments_service_;
  std::unique_ptr<AdminService> admin_;
  std::unique_ptr<GrpcEndpoint> endpoint_;
  std::string address_;
  storage::ThreadPool heap_;  // last: its tasks use the engine and the segments
};

}  // namespace thermocline::server
