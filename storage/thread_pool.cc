#include "storage/thread_pool.h"

#include <algorithm>
#include <errno.h>
#include <pthread.h>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace thermocline::storage {
namespace {

constexpr size_t kMaxThreadNameBytes = 15;

// Of the calling thread alone: on Linux each has its own.
void MakeNice(int niceness) {
  const auto thread = static_cast<id_t>(::gettid());
  errno = 0;
  const int now = ::getpriority(PRIO_PROCESS, thread);
  if (errno == 0 && now < niceness) ::setpriority(PRIO_PROCESS, thread, niceness);
}

}  // namespace

ThreadPool::ThreadPool(std::string_view name, int threads, int niceness) {
  for (int i = 0; i < threads; ++i) {
    std::thread& thread = threads_.emplace_back([this, niceness] { Work(niceness); });
    const std::string label = fmt::format("{}-{}", name, i).substr(0, kMaxThreadNameBytes);
    pthread_setname_np(thread.native_handle(), label.c_str());
  }
}

ThreadPool::~ThreadPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::Run(Task task) {
  {
    MutexLock lock(mutex_);
    queue_.push_back(std::move(task));
  }
  changed_.NotifyOne();
}

void ThreadPool::RunAfter(std::chrono::milliseconds delay, Task task) {
  const auto due = std::chrono::steady_clock::now() + delay;
  bool first;
  {
    MutexLock lock(mutex_);
    const uint64_t sequence = next_sequence_++;
    timers_.push_back({due, sequence, std::move(task)});
    std::push_heap(timers_.begin(), timers_.end(), Later);
    first = timers_.front().sequence == sequence;
  }
  // All of them: every idle thread must know the next moment, since any one may be called away by a task.
  if (first) changed_.NotifyAll();
}

bool ThreadPool::Later(const Timer& a, const Timer& b) {
  return std::pair(a.due, a.sequence) > std::pair(b.due, b.sequence);
}

void ThreadPool::Work(int niceness) {
  if (niceness > 0) MakeNice(niceness);
  Task task;
  while (Take(task)) {
    task();
    task = nullptr;  // what it holds is given up here, not when the next one comes
  }
}

// Waits for a task. False: there is none and never will be.
bool ThreadPool::Take(Task& task) {
  MutexLock lock(mutex_);
  QueueDue();
  while (queue_.empty()) {
    if (stopping_) return false;
    if (timers_.empty()) {
      changed_.Wait(mutex_);
    } else {
      changed_.WaitUntil(mutex_, timers_.front().due);
    }
    QueueDue();
  }
  task = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

void ThreadPool::QueueDue() {
  if (timers_.empty()) return;
  const auto now = std::chrono::steady_clock::now();
  while (!timers_.empty() && timers_.front().due <= now) {
    std::pop_heap(timers_.begin(), timers_.end(), Later);
    queue_.push_back(std::move(timers_.back().task));
    timers_.pop_back();
  }
}

}  // namespace thermocline::storage
