#include "tests/load/library_driver.h"

#include <algorithm>
#include <thread>

namespace thermocline::load {
namespace {

constexpr std::chrono::milliseconds kLookAgain{50};  // at the clock
constexpr std::chrono::milliseconds kAfterFailures{10};

}  // namespace

LibraryDriver::LibraryDriver(const DriverOptions& options) : connections_(options.connections) {
  for (uint32_t ticket = 0; ticket < options.connections * options.in_flight; ++ticket)
    free_.push_back(ticket);
}

void LibraryDriver::End(uint32_t ticket, std::string_view error, Traffic& traffic) {
  free_.push_back(ticket);
  only_failures_ = only_failures_ && !error.empty();
  traffic.OnEnd(ticket, error);
}

absl::Status LibraryDriver::Run(Traffic& traffic) {
  while (true) {
    traffic.SetNow(Clock::now());
    while (!free_.empty()) {
      const Call* const call = traffic.Next(free_.front());
      if (call == nullptr) break;
      const uint32_t ticket = free_.front();
      free_.pop_front();
      Start(ticket, *call);
    }
    if (traffic.finished()) return absl::OkStatus();
    const TimePoint look_again = Clock::now() + kLookAgain;
    const TimePoint due = traffic.open_loop() && !free_.empty() ? traffic.due() : look_again;
    const uint64_t before = traffic.ended();
    only_failures_ = true;
    Hear(std::min(due, look_again), traffic);
    // Without a server, calls fail as fast as they are made: no use in millions of them.
    if (only_failures_ && traffic.ended() != before) std::this_thread::sleep_for(kAfterFailures);
  }
}

}  // namespace thermocline::load
