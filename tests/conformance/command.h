#pragma once

#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace thermocline::testing {

// A program to run.
struct Command {
  std::vector<std::string> arguments;  // the first: its name, looked for in PATH
  std::string output;                  // where what it prints goes; empty: where ours goes
  std::vector<std::pair<std::string, std::string>> environment;  // beyond ours
  // Descriptors of ours and what it is to find them as; ours should be beyond all of those.
  std::vector<std::pair<int, int>> descriptors;
};

// Starts it. NOT_FOUND if there is no such program.
absl::StatusOr<pid_t> Spawn(const Command& command);

// Its exit code once it has ended; minus the signal's number if a signal ended it.
int AwaitExit(pid_t process);

// All of the above.
absl::StatusOr<int> Run(const Command& command);

}  // namespace thermocline::testing
