#include "server/service/batch_steps.h"

#include <utility>

namespace thermocline::server {

BatchSteps::BatchSteps(std::vector<uint32_t> steps, size_t width, absl::AnyInvocable<void(uint32_t)> begin,
                       absl::AnyInvocable<void()> all_ended)
    : width_(width), begin_(std::move(begin)), all_ended_(std::move(all_ended)), ready_(std::move(steps)) {}

void BatchSteps::Run() { Advance(std::unique_lock(mutex_)); }

void BatchSteps::Ended(std::optional<uint32_t> next) {
  std::unique_lock lock(mutex_);
  --under_way_;
  if (next.has_value()) ready_.push_back(*next);
  // Whoever is advancing looks again before it leaves, and may then destroy this object.
  if (advancing_) return;
  Advance(std::move(lock));
}

void BatchSteps::Advance(std::unique_lock<std::mutex> lock) {
  advancing_ = true;
  while (begun_ < ready_.size() && under_way_ < width_) {
    const uint32_t step = ready_[begun_++];
    ++under_way_;
    lock.unlock();
    begin_(step);
    lock.lock();
  }
  advancing_ = false;
  const bool ended = begun_ == ready_.size() && under_way_ == 0;
  lock.unlock();
  // Unless that was the last step, another thread may end the batch from here on.
  if (!ended) return;
  absl::AnyInvocable<void()> all_ended = std::move(all_ended_);
  all_ended();
}

}  // namespace thermocline::server
