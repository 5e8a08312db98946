#pragma once

namespace thermocline::cli {

// How the program ends; printed by `thermocline help`.
enum ExitCode : int {
  kOk = 0,
  kNo = 1,        // not found, condition not met, or --verify found a difference
  kUsage = 2,     // a wrong argument, or a file that cannot be read or written
  kServer = 3,    // the server refused, failed, or cannot be reached
  kRejected = 4,  // an import rejected some of its records
};

}  // namespace thermocline::cli
