#pragma once

#include <chrono>

#include "absl/functional/any_invocable.h"

namespace thermocline::storage {

// Runs tasks, some time after they were handed over and never inside the call that hands them over.
// Thread-safe.
//
// Two implementations: ThreadPool (storage/thread_pool.h), and the tests' ManualExecutor, which runs tasks
// when told, in a seeded order, so that a failing schedule can be replayed.
class Executor {
 public:
  using Task = absl::AnyInvocable<void()>;

  virtual ~Executor() = default;

  virtual void Run(Task task) = 0;
  // Runs `task` no earlier than `delay` from now. An executor that is destroyed drops tasks that are still
  // delayed.
  virtual void RunAfter(std::chrono::milliseconds delay, Task task) = 0;
};

}  // namespace thermocline::storage
