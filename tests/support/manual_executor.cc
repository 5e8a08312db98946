#include "tests/support/manual_executor.h"

#include <utility>

namespace thermocline::testing {

using storage::MutexLock;

void ManualExecutor::RunAfter(std::chrono::milliseconds delay, Task task) {
  MutexLock lock(mutex_);
  waiting_.push_back({now_ + delay, std::move(task)});
}

bool ManualExecutor::RunOne() {
  Task task;
  {
    MutexLock lock(mutex_);
    std::vector<size_t> due;
    for (size_t i = 0; i < waiting_.size(); ++i) {
      if (waiting_[i].due <= now_) due.push_back(i);
    }
    if (due.empty()) return false;
    const auto chosen = waiting_.begin() + static_cast<ptrdiff_t>(due[random_.Next() % due.size()]);
    task = std::move(chosen->task);
    waiting_.erase(chosen);
  }
  task();
  return true;
}

size_t ManualExecutor::RunUntilIdle() {
  size_t count = 0;
  while (RunOne()) ++count;
  return count;
}

void ManualExecutor::Advance(std::chrono::milliseconds time) {
  MutexLock lock(mutex_);
  now_ += time;
}

size_t ManualExecutor::Drop() {
  std::vector<Waiting> dropped;  // destroyed without the lock: what a task holds may come back here
  MutexLock lock(mutex_);
  dropped.swap(waiting_);
  return dropped.size();
}

size_t ManualExecutor::pending() const {
  MutexLock lock(mutex_);
  return waiting_.size();
}

}  // namespace thermocline::testing
