#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"

#include "storage/segment/core.h"
#include "storage/segment/stream_run.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {

// Keeps segments in few layers: recent changes become id files when they are many, and layers are merged so
// that each is larger than all younger ones together (size-tiered compaction: O'Neil et al., "The
// log-structured merge-tree", 1996). In the background, at most two segments at a time. Thread-safe.
class Rewriter : public std::enable_shared_from_this<Rewriter> {
 public:
  explicit Rewriter(std::shared_ptr<Core> core) : core_(std::move(core)) {}

  // A segment has changed: rewrites it soon if that is worth it.
  void Consider(const std::string& name, const SegmentEntry& entry);

  // Whether a recent layer takes no more changes, for it is being rewritten. Under the lock of its segment's
  // name.
  bool IsFrozen(uint64_t recent_layer) const;

  // Ends what is under way; nothing begins any more. Returns before all of it has ended.
  void Stop();

  struct Counts {
    uint64_t rewrites = 0;
    absl::Status last_status;
  };
  Counts counts() const;

 private:
  // One segment's.
  struct Rewrite {
    std::string name;
    uint64_t segment = 0;
    size_t first = 0;  // of the layers that become one
    std::vector<Layer> layers;
    std::shared_ptr<Core::Reading> reading;
    std::shared_ptr<Work> work;
    Layer made;
  };

  void BeginSome();
  void Begin(const std::string& name);
  void Write(std::shared_ptr<Rewrite> rewrite, bool adds);
  void AwaitLock(std::shared_ptr<Rewrite> rewrite);
  void Publish(std::shared_ptr<Rewrite> rewrite);
  absl::Status Replace(Rewrite& rewrite);
  uint64_t BytesFor(const Rewrite& rewrite) const;
  void Look(const std::string& name);
  void End(const std::string& name, const Rewrite* rewrite, const absl::Status& status);

  const std::shared_ptr<Core> core_;
  mutable Mutex mutex_;
  std::deque<std::string> waiting_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::shared_ptr<StreamRun>> running_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<uint64_t> frozen_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace thermocline::storage::segment
