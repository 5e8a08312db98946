#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

#include "storage/clock.h"
#include "storage/segment/catalog.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {

// Answers that were computed before, for as long as they are young, their inputs have not changed, and there
// is room; who was not used for longest goes first. They survive a restart. Thread-safe.
class Results {
 public:
  // All must outlive it. `max_bytes` 0: nothing is kept.
  Results(Catalog& catalog, Clock& clock, uint64_t max_bytes, uint64_t lifetime_ms)
      : catalog_(catalog), clock_(clock), max_bytes_(max_bytes), lifetime_ms_(lifetime_ms) {}

  // What an earlier process has kept, if its file is among `files`. Before any other use.
  absl::Status Load(const std::set<uint64_t>& files);

  // The files of all.
  std::vector<uint64_t> Files() const;

  uint64_t max_bytes() const { return max_bytes_; }

  // The answer with this key, or nullopt. Its file may be removed unless the caller keeps Remove() away while
  // it pins it.
  std::optional<ResultEntry> Find(const std::string& key);

  // Keeps an answer; its file is taken over, in any case. Returns the numbers of files that have to be
  // removed, by the caller, while nobody is between Find and a pin.
  std::vector<uint64_t> Keep(ResultEntry entry);

  // Forgets one answer, and returns its file as Keep does.
  std::vector<uint64_t> Forget(const std::string& key);

  // A segment has changed: forgets what depends on it, and returns the files as Keep does.
  std::vector<uint64_t> Invalidate(uint64_t segment);

  struct Counts {
    uint64_t results = 0;
    uint64_t bytes = 0;
    uint64_t hits = 0;
  };
  Counts counts() const;

 private:
  struct Kept {
    uint64_t number = 0;
    ResultEntry entry;
  };
  using Order = std::list<Kept>;

  void Forget(Order::iterator kept, Catalog::Batch& batch, std::vector<uint64_t>& files)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Insert(Kept kept) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Catalog& catalog_;
  Clock& clock_;
  const uint64_t max_bytes_;
  const uint64_t lifetime_ms_;

  mutable Mutex mutex_;
  Order order_ ABSL_GUARDED_BY(mutex_);  // the one used last first
  absl::flat_hash_map<std::string, Order::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, std::set<std::string>> by_segment_ ABSL_GUARDED_BY(mutex_);  // keys
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t hits_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace thermocline::storage::segment
