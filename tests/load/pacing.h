#pragma once

#include <cmath>
#include <cstdint>

#include "tests/load/call.h"

namespace thermocline::load {

// When calls of an open loop are meant to start: at a fixed rate, whatever has become of those before. What
// is late is counted from when it was meant to start, so that a pause of the server shows in all the calls
// that it held up ("no coordinated omission").
class Pacing {
 public:
  // The first call is meant for `start`; `calls_per_second` is positive.
  Pacing(TimePoint start, double calls_per_second) : start_(start), interval_ns_(1e9 / calls_per_second) {}

  // Of the next call. From the count, not from the last start: rounding does not add up.
  TimePoint next() const {
    return start_ +
           std::chrono::nanoseconds(static_cast<int64_t>(static_cast<double>(taken_) * interval_ns_));
  }
  void Take() { ++taken_; }
  // How many calls are meant to have started before `time` and have not been taken.
  uint64_t Overdue(TimePoint time) const {
    if (time <= next()) return 0;
    const auto elapsed = static_cast<double>(std::chrono::nanoseconds(time - start_).count());
    return static_cast<uint64_t>(std::ceil(elapsed / interval_ns_)) - taken_;
  }

 private:
  const TimePoint start_;
  const double interval_ns_;
  uint64_t taken_ = 0;
};

}  // namespace thermocline::load
