#pragma once

#include <cstdint>
#include <optional>
#include <sys/types.h>

namespace thermocline::load {

// The process on this machine that listens on a TCP port; nullopt if there is none that we may look at.
std::optional<pid_t> FindListener(uint16_t port);

// What another process takes from the machine.
struct ServerUsage {
  double cpu_seconds = 0;  // of all its threads, in user and kernel mode, since its start; in steps of 10 ms
  uint64_t resident_bytes = 0;
};
// nullopt if there is no such process.
std::optional<ServerUsage> UsageOf(pid_t pid);

}  // namespace thermocline::load
