#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libpq-fe.h"
#include "storage/row_source.h"
#include "storage/source/socket_wait.h"

namespace thermocline::storage::source {

using PostgresResult = std::unique_ptr<PGresult, decltype(&PQclear)>;

// A connection to PostgreSQL whose waits end in time and when `wait` is cancelled. Errors as RowSource has
// them. For one thread at a time.
class PostgresConnection {
 public:
  // `location` and `wait` must outlive it.
  PostgresConnection(const SourceLocation& location, const SocketWait& wait);

  // INVALID_ARGUMENT: libpq does not take the URL. Does not show the password.
  static absl::Status Check(const std::string& url);

  absl::Status Connect();
  PGconn* get() { return connection_.get(); }

  // What a libpq call that sends has returned.
  absl::Status Sent(int result);
  // Waits until there is more to read, and reads it.
  absl::Status Receive();
  // Waits for the next result; nullptr when there is none left.
  absl::StatusOr<PostgresResult> Result();
  // Runs a statement that returns nothing.
  absl::Status Run(const char* statement);

  // Asks the server to give up what it runs for this connection. Takes kStopWait at most.
  void Stop();

  // The error that a result is, if it is one.
  static absl::Status ToStatus(const PGresult* result);
  // What the connection says has gone wrong with it.
  absl::Status Broken() const;

 private:
  absl::Status Flush();

  const SourceLocation& location_;
  const SocketWait& wait_;
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_{nullptr, &PQfinish};
  bool connected_ = false;  // once; it may be lost again
};

// The five characters by which PostgreSQL names an error, as the kind that RowSource has for it.
absl::StatusCode CodeOfSqlState(std::string_view state);

}  // namespace thermocline::storage::source
