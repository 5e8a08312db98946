#pragma once

#include <deque>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"

#include "storage/executor.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage::segment {

// One lock for each name, waited for without a thread. Thread-safe.
class NameLocks {
 public:
  explicit NameLocks(Executor& executor) : executor_(executor) {}

  // Calls `held` when nobody else holds the name: during the call, or later on the executor, in the order of
  // the calls. Who holds it releases it, on any thread.
  void Acquire(const std::string& name, Executor::Task held) {
    {
      MutexLock lock(mutex_);
      const auto [waiting, free] = waiting_.try_emplace(name);
      if (!free) {
        waiting->second.push_back(std::move(held));
        return;
      }
    }
    held();
  }

  void Release(const std::string& name) {
    Executor::Task next;
    {
      MutexLock lock(mutex_);
      const auto waiting = waiting_.find(name);
      if (waiting->second.empty()) {
        waiting_.erase(waiting);
        return;
      }
      next = std::move(waiting->second.front());
      waiting->second.pop_front();
    }
    executor_.Run(std::move(next));
  }

 private:
  Executor& executor_;
  Mutex mutex_;
  absl::flat_hash_map<std::string, std::deque<Executor::Task>> waiting_
      ABSL_GUARDED_BY(mutex_);  // of held names
};

}  // namespace thermocline::storage::segment
