#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "storage/executor.h"
#include "storage/system_clock.h"
#include "storage/thread_annotations.h"

namespace thermocline::testing {

// Runs tasks only when told, on the thread that tells it, in an order chosen by its seed. Its time stands
// still except in Advance(). Tasks may hand over tasks. Thread-safe.
class ManualExecutor : public storage::Executor {
 public:
  explicit ManualExecutor(uint64_t seed) : random_(seed) {}

  void Run(Task task) override { RunAfter(std::chrono::milliseconds(0), std::move(task)); }
  void RunAfter(std::chrono::milliseconds delay, Task task) override;

  // Runs one of the tasks that are due, any of them. False: none was.
  bool RunOne();
  // Runs tasks until none is due; returns how many.
  size_t RunUntilIdle();
  // Lets time pass; runs nothing.
  void Advance(std::chrono::milliseconds time);
  // Forgets every task, run or delayed, as a crash does; returns how many.
  size_t Drop();

  // Tasks handed over and not yet run, delayed ones included.
  size_t pending() const;

 private:
  struct Waiting {
    std::chrono::milliseconds due;
    Task task;
  };

  mutable storage::Mutex mutex_;
  storage::SeededRandom random_;
  std::chrono::milliseconds now_ ABSL_GUARDED_BY(mutex_){0};
  std::vector<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace thermocline::testing
