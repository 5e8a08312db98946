#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mysql.h"
#include "storage/row_source.h"
#include "storage/source/database_url.h"
#include "storage/source/socket_wait.h"

namespace thermocline::storage::source {

// How and where to connect.
struct MysqlAddress {
  enum class Tls { kDisabled, kRequired, kVerify };

  DatabaseUrl url;
  std::string socket;  // empty: TCP
  Tls tls = Tls::kDisabled;
  std::string ca_file;
  std::string certificate_file;
  std::string key_file;
};

// INVALID_ARGUMENT: the URL is none, or has a setting that is none. Never shows the password.
absl::StatusOr<MysqlAddress> ParseMysqlUrl(std::string_view url);

// A connection to MariaDB or MySQL whose waits end in time and when `wait` is cancelled. Errors as RowSource
// has them. For one thread at a time.
class MysqlConnection {
 public:
  // `wait` must outlive it.
  explicit MysqlConnection(const SocketWait& wait) : wait_(wait) {}
  ~MysqlConnection();
  MysqlConnection(const MysqlConnection&) = delete;
  MysqlConnection& operator=(const MysqlConnection&) = delete;

  absl::Status Connect(const MysqlAddress& address, std::chrono::milliseconds timeout);
  MYSQL* get() { return mysql_; }

  // Sends a statement, and waits for the beginning of what it answers.
  absl::Status Run(std::string_view statement, std::chrono::milliseconds timeout);

  // An operation of libmariadb that is under way waits for these, as its functions ..._start and ..._cont
  // return them; 0: it is done.
  using Waits = int;
  // Continues with what has become ready.
  using Continue = absl::FunctionRef<Waits(int ready)>;
  // Waits until the operation is done, which may have failed in the way that it has itself. A wait that ends
  // before has broken the connection.
  absl::Status Await(Waits waits, std::chrono::milliseconds timeout, std::string_view late, Continue proceed);

  // What the last operation that failed has said.
  absl::Status Error();
  // The same, of one that reads rows.
  absl::Status RowError();

  // Nothing more comes from, or goes to, the server.
  void Break();

  uint64_t id() const { return id_; }
  // The address of the server in digits; empty if it is not reached by TCP.
  const std::string& peer() const { return peer_; }

 private:
  const SocketWait& wait_;
  MYSQL* mysql_ = nullptr;
  uint64_t id_ = 0;  // by which the server knows the connection; 0: there is none
  std::string peer_;
  int socket_ = -1;  // a second descriptor of the connection's socket, which libmariadb does not close
};

// What a server's or libmariadb's number of an error is, as the kind that RowSource has for it.
absl::StatusCode CodeOfMysqlError(unsigned number);

}  // namespace thermocline::storage::source
