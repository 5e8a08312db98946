#pragma once

#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "tests/support/temp_directory.h"

namespace thermocline::testing {

// A real PostgreSQL or MariaDB on a free port of 127.0.0.1, in a directory of its own, which does not care to
// survive a crash of the machine. Run by root, it runs as an unprivileged user. The calls belong to one
// thread (which must live as long as the server: the system kills the server when that thread ends).
class DatabaseServer {
 public:
  enum class Kind { kPostgres, kMariadb };

  static constexpr const char* kUser = "tester";  // who may do everything
  static constexpr const char* kPassword = "s3cret:pw";

  // Starts it, and waits until it serves: some seconds. NOT_FOUND if it is not installed, with a message for
  // a test that is skipped.
  static absl::StatusOr<std::unique_ptr<DatabaseServer>> Start(Kind kind);

  // Ends it.
  ~DatabaseServer();

  // For OpenRowSource, with the user and the password.
  std::string Url() const { return Url(kUser, kPassword); }
  std::string Url(const std::string& user, const std::string& password) const;

  // Ends it at once, whatever it is at; Restart() starts it again on the same port.
  void Kill();
  absl::Status Restart();

 private:
  DatabaseServer(Kind kind, int port) : kind_(kind), port_(port) {}

  // Makes its files.
  absl::Status Install();
  std::vector<std::string> Command() const;
  absl::Status AwaitServing();
  // Starts a program as the user that the server is to have; -1 if there is no process to be had.
  pid_t Spawn(const std::vector<std::string>& command) const;
  std::string Log() const;

  const Kind kind_;
  const int port_;
  TempDirectory directory_;
  pid_t pid_ = -1;  // -1: not running
};

}  // namespace thermocline::testing
