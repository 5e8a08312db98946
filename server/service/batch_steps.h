#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/functional/any_invocable.h"

namespace thermocline::server {

// Runs the numbered steps of a batch, many at a time, without recursion however many of them end at once.
class BatchSteps {
 public:
  // `begin(step)` starts one step and leads to exactly one Ended(), during the call or later on any thread.
  // At most `width` steps are under way. `all_ended` is called once, when every step has ended; it may
  // destroy this object. Both are called by one thread at a time.
  BatchSteps(std::vector<uint32_t> steps, size_t width, absl::AnyInvocable<void(uint32_t)> begin,
             absl::AnyInvocable<void()> all_ended);

  // Call once. The object may be gone when this returns.
  void Run();

  // A step has ended; `next` is one that may begin because of that. Thread-safe. The object may be gone when
  // this returns.
  void Ended(std::optional<uint32_t> next = std::nullopt);

 private:
  // Begins what may begin. Takes the lock on mutex_ while no thread is advancing.
  void Advance(std::unique_lock<std::mutex> lock);

  const size_t width_;
  absl::AnyInvocable<void(uint32_t)> begin_;
  absl::AnyInvocable<void()> all_ended_;

  std::mutex mutex_;
  std::vector<uint32_t> ready_;  // from begun_ on; guarded by mutex_, as are all below
  size_t begun_ = 0;
  size_t under_way_ = 0;
  bool advancing_ = false;
};

}  // namespace thermocline::server
