#include "storage/log/crew.h"

#include <algorithm>

namespace thermocline::storage {

struct Crew::Round {
  Round(size_t tasks, Task each) : count(tasks), task(each) {}

  const size_t count;
  const Task task;
  std::atomic<size_t> next{0};
  Mutex mutex;
  CondVar finished;
  size_t left ABSL_GUARDED_BY(mutex) = count;
};

Crew::Crew(size_t threads) : threads_(std::max<size_t>(1, threads)) {
  if (threads_ > 1) pool_.emplace("recovery", static_cast<int>(threads_ - 1));
}

// Relaxed: the numbers only tell the tasks apart; what one leaves for the caller is ordered by the mutex.
void Crew::Work(Round& round, size_t worker) {
  while (true) {
    const size_t number = round.next.fetch_add(1, std::memory_order_relaxed);
    if (number >= round.count) return;
    round.task(worker, number);
    MutexLock lock(round.mutex);
    if (--round.left == 0) round.finished.NotifyOne();
  }
}

void Crew::Run(size_t count, Task task) {
  // Nobody waits for a thread that the system does not run: the others do its part.
  const auto round = std::make_shared<Round>(count, task);
  for (size_t worker = 1; worker < std::min(threads_, count); ++worker) {
    pool_->Run([round, worker] { Work(*round, worker); });
  }
  Work(*round, 0);
  MutexLock lock(round->mutex);
  while (round->left > 0) round->finished.Wait(round->mutex);
}

}  // namespace thermocline::storage
