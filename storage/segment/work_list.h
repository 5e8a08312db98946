#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "storage/segment/read_context.h"
#include "storage/segments.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {

// One query, change or rewrite, as those see it who ask what goes on. Thread-safe but for the members that
// are set at first.
struct Work {
  std::string what;
  uint64_t max_ids = 0;

  std::shared_ptr<ReadContext> context;  // nullptr: it reads nothing
  const std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  std::atomic<uint64_t> ids{0};
  std::atomic<uint64_t> memory_bytes{0};
  std::atomic<bool> from_kept_result{false};

  uint64_t ElapsedMs() const {
    const auto elapsed = std::chrono::steady_clock::now() - started;
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(elapsed).count());
  }

  SegmentQueryProgress Progress() const {
    SegmentQueryProgress progress;
    progress.ids = ids.load(std::memory_order_relaxed);
    progress.max_ids = max_ids;
    progress.memory_bytes = memory_bytes.load(std::memory_order_relaxed);
    progress.from_kept_result = from_kept_result.load(std::memory_order_relaxed);
    progress.elapsed_ms = ElapsedMs();
    if (context == nullptr) return progress;
    const ReadCounts& counts = context->counts();
    progress.blocks = counts.blocks.load(std::memory_order_relaxed);
    progress.blocks_read = counts.blocks_read.load(std::memory_order_relaxed);
    progress.blocks_passed = counts.blocks_passed.load(std::memory_order_relaxed);
    progress.bytes_read = counts.bytes_read.load(std::memory_order_relaxed);
    return progress;
  }
};

// What is under way. Thread-safe.
class WorkList {
 public:
  // `work` is listed until what this returns is destroyed, which may outlive the list.
  std::shared_ptr<const void> Add(std::shared_ptr<Work> work) {
    const auto at = Insert(std::move(work));
    return std::shared_ptr<const void>(nullptr, [shared = shared_, at](const void*) {
      MutexLock lock(shared->mutex);
      shared->works.erase(at);
    });
  }

  // The longest first.
  std::vector<SegmentWork> List(size_t limit) const {
    std::vector<SegmentWork> list;
    MutexLock lock(shared_->mutex);
    for (auto work = shared_->works.rbegin(); work != shared_->works.rend() && list.size() < limit; ++work)
      list.push_back({(*work)->what, (*work)->ElapsedMs(), (*work)->Progress()});
    return list;
  }

 private:
  struct Shared {
    Mutex mutex;
    std::list<std::shared_ptr<Work>> works ABSL_GUARDED_BY(mutex);  // the newest first
  };
  std::list<std::shared_ptr<Work>>::iterator Insert(std::shared_ptr<Work> work) {
    MutexLock lock(shared_->mutex);
    return shared_->works.insert(shared_->works.begin(), std::move(work));
  }

  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

}  // namespace thermocline::storage::segment
