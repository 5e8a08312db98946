#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>

#include "absl/functional/function_ref.h"

#include "storage/thread_annotations.h"
#include "storage/thread_pool.h"

namespace thermocline::storage {

// Threads that do many small tasks together, and then the next ones. Not thread-safe.
class Crew {
 public:
  // Of `threads` (at least 1), the caller's among them.
  explicit Crew(size_t threads);

  size_t threads() const { return threads_; }

  using Task = absl::FunctionRef<void(size_t worker, size_t number)>;
  // Calls `task` for each number below `count`, the smaller ones first, and returns when all calls have
  // returned. Several threads call it at once, each with a worker below threads() of its own.
  void Run(size_t count, Task task);

 private:
  // Of one Run. A thread that comes when nothing is left to do outlives it, and calls nothing.
  struct Round;
  static void Work(Round& round, size_t worker);

  const size_t threads_;
  std::optional<ThreadPool> pool_;  // of the others
};

}  // namespace thermocline::storage
