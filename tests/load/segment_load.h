#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "client/client.h"
#include "tests/load/load_run.h"
#include "tests/load/pacing.h"
#include "tests/load/segment_mix.h"
#include "tests/load/segment_result.h"
#include "tests/load/traffic.h"

namespace thermocline::load {

// Clients that add to segments and ask about them, on threads of their own, through our client library. For
// one thread.
class SegmentLoad {
 public:
  // UNAVAILABLE if the server is not there.
  static absl::StatusOr<std::unique_ptr<SegmentLoad>> Connect(const LoadOptions& options);
  // Stops.
  ~SegmentLoad();

  // Writes all segments anew, whatever they were. `watcher` hears how many ids have been sent.
  absl::Status Load(const std::function<void(uint64_t ids)>& watcher);

  // Begins to add and to ask.
  void Start();
  // What is counted from now on.
  void Count();
  // Ends, and says what came since the last Count() (faults: since Start()). Adds that are late are still
  // made; queries that run are abandoned.
  SegmentResult Stop();

 private:
  // What is done, and what has come of it.
  struct Line {
    Tally tally;                             // its operations are ids
    bench::LatencyHistogram::Counts before;  // as of Count()
    uint64_t ids_before = 0;
  };

  SegmentLoad(const SegmentOptions& options, uint64_t seed) : options_(options), seed_(seed) {}

  absl::Status LoadOne(const SegmentIds& segment, const std::function<void(uint64_t ids)>& watcher);
  void Add(uint64_t seed);
  // When the next add is meant to start: waits until then. False if there is none any more.
  bool AwaitAdd(TimePoint& meant);
  void AddFailed();
  void Ask(Client& client, uint64_t seed);
  void AskCount(Client& client, const SegmentQuestion& question);
  void AskIds(Client& client, const SegmentQuestion& question);
  bool Failed(Line& line, const absl::Status& status, const std::string& what);
  bool stopped();

  const SegmentOptions options_;
  const uint64_t seed_;
  std::unique_ptr<Client> adding_;
  std::vector<std::unique_ptr<Client>> asking_;

  std::mutex mutex_;
  std::condition_variable stopping_;
  std::optional<Pacing> pacing_;      // of the adds
  TimePoint end_ = TimePoint::max();  // no add is meant to start later
  bool stopped_ = true;
  TimePoint counted_from_;
  uint64_t starts_ = 0;
  std::unique_ptr<Line> adds_;
  std::unique_ptr<Line> counts_;
  std::unique_ptr<Line> queries_;
  std::vector<std::thread> adders_;
  std::vector<std::thread> askers_;
};

}  // namespace thermocline::load
