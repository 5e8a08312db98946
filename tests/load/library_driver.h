#pragma once

#include <deque>
#include <string_view>

#include "tests/load/driver.h"

namespace thermocline::load {

// A driver over a library that has connections and threads of its own. The library ends every call, after a
// timeout at the latest.
class LibraryDriver : public Driver {
 public:
  absl::Status Run(Traffic& traffic) final;

 protected:
  explicit LibraryDriver(const DriverOptions& options);

  // Each connection has as many tickets as it may have calls in flight.
  uint32_t ConnectionOf(uint32_t ticket) const { return ticket % connections_; }
  // Begins a call.
  virtual void Start(uint32_t ticket, const Call& call) = 0;
  // Waits for an answer until `deadline`, then hears all that are there: SetNow, OnValue, and End for each.
  virtual void Hear(TimePoint deadline, Traffic& traffic) = 0;
  void End(uint32_t ticket, std::string_view error, Traffic& traffic);

 private:
  const uint32_t connections_;
  std::deque<uint32_t> free_;   // tickets; the longest free first, so that connections take turns
  bool only_failures_ = false;  // since Hear was called
};

}  // namespace thermocline::load
