#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "storage/executor.h"
#include "storage/thread_annotations.h"

namespace thermocline::storage {

// Runs tasks on threads of its own, in the order they were handed over or came due.
class ThreadPool : public Executor {
 public:
  // Starts `threads` (at least 1) threads, which the system shows as "<name>-<number>"; it cuts what is
  // longer than 15 bytes.
  ThreadPool(std::string_view name, int threads);

  // Runs what is queued or due, and what those tasks hand over, drops what is still delayed, and joins the
  // threads. Not from one of its own tasks.
  ~ThreadPool() override;

  void Run(Task task) override;
  void RunAfter(std::chrono::milliseconds delay, Task task) override;

 private:
  struct Timer {
    std::chrono::steady_clock::time_point due;
    uint64_t sequence;
    Task task;
  };

  static bool Later(const Timer& a, const Timer& b);
  void Work();
  bool Take(Task& task);
  void QueueDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar changed_;
  std::deque<Task> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<Timer> timers_ ABSL_GUARDED_BY(mutex_);  // a heap, the next one first
  uint64_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace thermocline::storage
