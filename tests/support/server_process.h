#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace thermocline::testing {

// A real thermocline-server process that serves on a free port of 127.0.0.1. The calls that start and end the
// process belong to one thread (which must live as long as the server: the system kills the server when that
// thread ends); the others may come from any thread.
//
// Link `thermocline_server_process`, which also sees to it that the server is built.
class ServerProcess {
 public:
  struct Options {
    // Beyond --listen and --data, such as {"--memory", "16MiB"}.
    std::vector<std::string> flags;
    // Empty: a fresh directory that is removed with this object. Else it stays.
    std::string data_directory;
  };

  // Starts the server and waits until it serves. FAILED_PRECONDITION with the exit code and what it printed
  // if it exits instead; DEADLINE_EXCEEDED after a minute without either.
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start(Options options);
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start() { return Start(Options()); }

  // What a server prints and how it exits when run with exactly these arguments until it ends by itself: for
  // command lines that are refused. DEADLINE_EXCEEDED after a minute; the server is then killed.
  struct Outcome {
    int exit_code = 0;  // minus the signal's number if a signal ended it
    std::string output;
  };
  static absl::StatusOr<Outcome> Run(const std::vector<std::string>& arguments);

  // Kills the server if it still runs.
  ~ServerProcess();

  // "127.0.0.1:port"; stays the same through Restart().
  const std::string& address() const { return address_; }
  const std::string& data_directory() const { return data_directory_; }
  pid_t pid() const { return pid_; }

  // Sends `signal` to the running server and returns at once.
  void Signal(int signal);
  // Waits until the server has ended, or `seconds` have passed. Returns its exit code (minus the signal's
  // number if a signal ended it), nullopt if it still runs.
  std::optional<int> Wait(int seconds = 60);
  // SIGTERM, then Wait(): 0 after a clean drain.
  std::optional<int> Terminate();
  // SIGKILL, then Wait().
  void Kill();

  // Starts an ended server again on the same data directory and address, with the same flags. Errors as
  // Start.
  absl::Status Restart();

  // All that the server has printed since Start, through restarts.
  std::string Log() const;
  // Memory that the system counts for the process now; 0 if it has ended.
  uint64_t ResidentBytes() const;

 private:
  ServerProcess(Options options, std::string scratch);

  absl::Status Launch();
  absl::Status AwaitServing(size_t log_offset);

  const std::vector<std::string> flags_;
  const std::string scratch_;  // holds the log and, unless it was given, the data directory
  const std::string data_directory_;
  std::string address_;
  pid_t pid_ = -1;  // -1: not running
};

}  // namespace thermocline::testing
