#pragma once

namespace thermocline::cli {

// How the program ends; printed by `thermocline help`.
enum ExitCode : int {
  kOk = 0,
  kNo = 1,        // not found, condition not met, or --verify found a difference
  kUsage = 2,     // a wrong argument or query, or a file that cannot be read or written
  kServer = 3,    // the server, or a database, refused, failed, or cannot be reached
  kRejected = 4,  // some of the records or ids of an input were rejected
};

}  // namespace thermocline::cli
