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
  //
  // `niceness` (0 to 19, as nice(1) counts) is for work that nobody waits for: while the processors are busy,
  // its threads get the less of them the nicer they are, and give way to those that answer clients. It never
  // makes them less nice than the process, and a system that refuses leaves them as they are. Such a thread
  // may be held up while it holds a lock: none of its locks should be held for long.
  ThreadPool(std::string_view name, int threads, int niceness = 0);

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
  void Work(int niceness);
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
