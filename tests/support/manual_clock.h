#pragma once

#include <atomic>
#include <cstdint>

#include "storage/clock.h"

namespace thermocline::testing {

// A clock that stands still until it is set. Thread-safe.
class ManualClock : public storage::Clock {
 public:
  explicit ManualClock(uint64_t now_ms = 1'700'000'000'000) : now_ms_(now_ms) {}

  uint64_t NowMs() override { return now_ms_; }
  void Set(uint64_t now_ms) { now_ms_ = now_ms; }
  void Advance(int64_t ms) { now_ms_ += static_cast<uint64_t>(ms); }

 private:
  std::atomic<uint64_t> now_ms_;
};

}  // namespace thermocline::testing
