#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

#include "storage/cancellation.h"
#include "storage/segment/core.h"
#include "storage/segment/expression.h"
#include "storage/segment/id_files.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {

// The ids of a source, sorted, in a file that stays while `pins` does.
struct FetchedSource {
  FileEntry file;   // number 0: there are no ids
  std::string key;  // of what is kept (Results)
  IdFiles::Pins pins;
};

// What was fetched before with the same parameters, from the same source, and is still kept: as long as a
// result is. NOT_FOUND, INVALID_ARGUMENT: there is no such source.
absl::StatusOr<std::optional<FetchedSource>> FindKeptSource(Core& core, const Expression& source);

// That, or what the source yields now, which is kept then; with `use_kept` false, only the latter. Who asks
// for the same meanwhile gets the same. The source is read on a thread for that; it ends when
// all who asked have cancelled. Memory is asked for when the first ids are there.
//
// `done` comes during the call or later, on some executor. Errors are the source's; CANCELLED.
using SourceFetched = absl::AnyInvocable<void(absl::StatusOr<FetchedSource>)>;
void FetchSource(const std::shared_ptr<Core>& core, const Expression& source, bool use_kept,
                 const Cancellation& cancellation, SourceFetched done);

class SourceFetch;

// Those that are under way, by their keys. Thread-safe.
class SourceFetches {
 public:
  // The one with this key, or `fresh`, which is one from now on (second: true).
  std::pair<std::shared_ptr<SourceFetch>, bool> FindOr(const std::string& key,
                                                       const std::shared_ptr<SourceFetch>& fresh) {
    MutexLock lock(mutex_);
    const auto [found, added] = running_.try_emplace(key, fresh);
    return {found->second, added};
  }
  void Remove(const std::string& key, const SourceFetch* fetch) {
    MutexLock lock(mutex_);
    const auto found = running_.find(key);
    if (found != running_.end() && found->second.get() == fetch) running_.erase(found);
  }

 private:
  Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<SourceFetch>> running_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::storage::segment
