#include "tests/bench/mixed_traffic.h"

namespace thermocline::bench {

using Clock = std::chrono::steady_clock;

OperationSequence::OperationSequence(const Popularity& popularity, uint64_t keys)
    : popularity_(popularity),
      keys_(keys),
      zipfian_(keys, popularity.theta),
      scatter_(keys, popularity.seed),
      random_(popularity.seed) {}

OperationSequence::Step OperationSequence::Next() {
  Step step;
  step.is_set = random_.Fraction() >= popularity_.read_share;
  step.key = popularity_.uniform ? random_.Below(keys_) : scatter_(zipfian_.Draw(random_));
  return step;
}

MixedTraffic::MixedTraffic(const Workload& workload, const Popularity& popularity, uint64_t keys)
    : workload_(workload), sequence_(popularity, keys) {}

void MixedTraffic::Extend(const Limit& limit) {
  const std::lock_guard lock(mutex_);
  limit_ = {.operations = begun_ + limit.operations, .deadline = limit.deadline};
}

bool MixedTraffic::Next(Operation& operation, std::string& value) {
  const Clock::time_point now = Clock::now();
  OperationSequence::Step step;
  uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = begun_.load(std::memory_order_relaxed);
    if (number >= limit_.operations || now >= limit_.deadline || !status_.ok()) return false;
    step = sequence_.Next();
    begun_.store(number + 1, std::memory_order_release);  // with Done: what it reads was written before
  }
  operation.key = workload_.KeyAt(step.key);
  operation.is_set = step.is_set;
  if (step.is_set) {
    workload_.ValueOf(operation.key, static_cast<uint32_t>(number + 1), value);
    set_bytes_.fetch_add(operation.key.size + value.size(), std::memory_order_relaxed);
  }
  return true;
}

void MixedTraffic::Done(const Operation& operation,
                        const absl::StatusOr<std::optional<std::string_view>>& value) {
  (operation.is_set ? sets_ : gets_).Add(Clock::now() - operation.start);
  const auto newest = static_cast<uint32_t>(begun_.load(std::memory_order_acquire));
  const absl::Status status =
      operation.is_set ? value.status() : workload_.CheckRead(operation.key, value, newest);
  if (status.ok()) return;
  const std::lock_guard lock(mutex_);
  status_.Update(status);
}

absl::Status MixedTraffic::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

}  // namespace thermocline::bench
