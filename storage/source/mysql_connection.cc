#include "storage/source/mysql_connection.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <iterator>
#include <mutex>
#include <sys/socket.h>
#include <unistd.h>

#include "fmt/format.h"
#include <netdb.h>

#include "errmsg.h"
#include "mysqld_error.h"
#include "storage/source/query.h"

namespace thermocline::storage::source {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr unsigned kFirstClientError = 2000;
constexpr unsigned kEndOfClientErrors = 3000;
constexpr unsigned kMysqlMaxExecutionTime = 3024;
constexpr unsigned kDefaultPort = 3306;

void SetUpLibrary() {
  static std::once_flag once;
  std::call_once(once, [] { mysql_server_init(0, nullptr, nullptr); });
}

const char* OrNull(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

absl::Status Set(MysqlAddress& address, bool& tls_chosen, const std::string& name, const std::string& value) {
  using Tls = MysqlAddress::Tls;
  if (name == "socket") {
    address.socket = value;
  } else if (name == "ssl-ca") {
    address.ca_file = value;
  } else if (name == "ssl-cert") {
    address.certificate_file = value;
  } else if (name == "ssl-key") {
    address.key_file = value;
  } else if (name == "ssl-mode" && (value == "disabled" || value == "required" || value == "verify")) {
    address.tls = value == "disabled" ? Tls::kDisabled : value == "required" ? Tls::kRequired : Tls::kVerify;
    tls_chosen = true;
  } else if (name == "ssl-mode") {
    return absl::InvalidArgumentError("ssl-mode in the URL is none of disabled, required, verify");
  } else {
    // Not its name: where a password has a ? in it, that is a part of the password.
    return absl::InvalidArgumentError(
        "behind the ? of the URL stands a setting that is none of socket, ssl-mode, ssl-ca, ssl-cert, "
        "ssl-key");
  }
  return absl::OkStatus();
}

// The address of who is at the other end, in digits; empty if it is not reached by TCP.
std::string Peer(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  std::array<char, NI_MAXHOST> digits{};
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (getpeername(socket, generic, &size) != 0 || address.ss_family == AF_UNIX ||
      getnameinfo(generic, size, digits.data(), digits.size(), nullptr, 0, NI_NUMERICHOST) != 0) {
    return "";
  }
  return digits.data();
}

}  // namespace

absl::StatusCode CodeOfMysqlError(unsigned number) {
  static constexpr std::array kRefused = {1044U, 1045U, 1142U, 1143U, 1227U, 1251U, 1370U, 1698U,
                                          1820U, 1862U, 2058U, 2059U, 2061U, 3118U, 4151U};
  static constexpr std::array kUnavailable = {1021U, 1030U, 1037U, 1038U, 1040U, 1041U, 1053U, 1077U, 1079U,
                                              1080U, 1114U, 1129U, 1130U, 1135U, 1158U, 1159U, 1160U, 1161U,
                                              1203U, 1205U, 1213U, 1226U, 1317U, 1836U, 1927U};
  const auto is_in = [number](const auto& numbers) {
    return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
  };
  if (number == ER_STATEMENT_TIMEOUT || number == kMysqlMaxExecutionTime)
    return absl::StatusCode::kDeadlineExceeded;
  if (number == CR_NET_PACKET_TOO_LARGE) return absl::StatusCode::kResourceExhausted;
  if (is_in(kRefused)) return absl::StatusCode::kPermissionDenied;
  if (is_in(kUnavailable)) return absl::StatusCode::kUnavailable;
  // libmariadb's own are of the network and of memory.
  if (number >= kFirstClientError && number < kEndOfClientErrors) return absl::StatusCode::kUnavailable;
  return absl::StatusCode::kInvalidArgument;
}

absl::StatusOr<MysqlAddress> ParseMysqlUrl(std::string_view text) {
  absl::StatusOr<DatabaseUrl> url = ParseDatabaseUrl(text);
  if (!url.ok()) return url.status();
  MysqlAddress address;
  address.url = *std::move(url);
  bool tls_chosen = false;
  for (const auto& [name, value] : address.url.settings) {
    if (absl::Status set = Set(address, tls_chosen, name, value); !set.ok()) return set;
  }
  if (!address.ca_file.empty() && !tls_chosen) address.tls = MysqlAddress::Tls::kVerify;
  const char* password = std::getenv("MYSQL_PWD");
  if (!address.url.password.has_value() && password != nullptr) address.url.password = password;
  return address;
}

MysqlConnection::~MysqlConnection() {
  if (mysql_ != nullptr) mysql_close(mysql_);
  if (socket_ >= 0) close(socket_);
}

absl::Status MysqlConnection::Connect(const MysqlAddress& address, milliseconds timeout) {
  SetUpLibrary();
  mysql_ = mysql_init(nullptr);
  if (mysql_ == nullptr) return absl::UnavailableError("no memory for a connection");
  mysql_options(mysql_, MYSQL_OPT_NONBLOCK, nullptr);
  const unsigned local_files = 0;  // a server must not read ours
  mysql_options(mysql_, MYSQL_OPT_LOCAL_INFILE, &local_files);
  const auto seconds = static_cast<unsigned>(std::chrono::ceil<std::chrono::seconds>(timeout).count());
  mysql_options(mysql_, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
  const unsigned long longest = kMaxRowBytes;  // NOLINT: libmariadb's type
  mysql_options(mysql_, MYSQL_OPT_MAX_ALLOWED_PACKET, &longest);
  mysql_options(mysql_, MYSQL_SET_CHARSET_NAME, "utf8mb4");
  const bool tcp = address.socket.empty();
  const unsigned protocol = tcp ? MYSQL_PROTOCOL_TCP : MYSQL_PROTOCOL_SOCKET;
  mysql_options(mysql_, MYSQL_OPT_PROTOCOL, &protocol);
  if (address.tls != MysqlAddress::Tls::kDisabled) {
    mysql_ssl_set(mysql_, OrNull(address.key_file), OrNull(address.certificate_file), OrNull(address.ca_file),
                  nullptr, nullptr);
    const my_bool on = 1;
    mysql_options(mysql_, MYSQL_OPT_SSL_ENFORCE, &on);
    if (address.tls == MysqlAddress::Tls::kVerify)
      mysql_options(mysql_, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &on);
  }
  const DatabaseUrl& url = address.url;
  const std::string host = url.host.empty() ? "localhost" : url.host;
  const std::string password = url.password.value_or("");
  const unsigned port = url.port == 0 ? kDefaultPort : static_cast<unsigned>(url.port);
  MYSQL* connected = nullptr;
  const Waits waits =
      mysql_real_connect_start(&connected, mysql_, host.c_str(), OrNull(url.user), password.c_str(),
                               OrNull(url.database), port, tcp ? nullptr : address.socket.c_str(), 0);
  const absl::Status waited =
      Await(waits, timeout, "no connection within the connect timeout",
            [&](int ready) { return mysql_real_connect_cont(&connected, mysql_, ready); });
  if (!waited.ok()) return waited;
  if (connected == nullptr) return Error();
  id_ = mysql_thread_id(mysql_);
  const auto socket = static_cast<int>(mysql_get_socket(mysql_));
  socket_ = fcntl(socket, F_DUPFD_CLOEXEC, 0);
  peer_ = Peer(socket);
  const int on = 1;
  setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  return absl::OkStatus();
}

absl::Status MysqlConnection::Await(Waits waits, milliseconds timeout, std::string_view late,
                                    Continue proceed) {
  if (waits == 0) return absl::OkStatus();
  const SocketWait::Deadline deadline = steady_clock::now() + timeout;
  absl::Status broken;
  while (waits != 0) {
    // Of an operation whose wait was broken off, every wait has timed out.
    int ready = MYSQL_WAIT_TIMEOUT;
    if (broken.ok()) {
      const int events = ((waits & MYSQL_WAIT_READ) != 0 ? SocketWait::kRead : 0) |
                         ((waits & MYSQL_WAIT_WRITE) != 0 ? SocketWait::kWrite : 0);
      broken = wait_.Await(static_cast<int>(mysql_get_socket(mysql_)), events, deadline, late);
      if (broken.ok()) {
        ready = waits & (MYSQL_WAIT_READ | MYSQL_WAIT_WRITE);
      } else {
        Break();
      }
    }
    waits = proceed(ready);
  }
  return broken;
}

absl::Status MysqlConnection::Run(std::string_view statement, milliseconds timeout) {
  int failed = 0;
  const Waits waits = mysql_real_query_start(&failed, mysql_, statement.data(), statement.size());
  const absl::Status waited = Await(waits, timeout, "it sent nothing for as long as the idle timeout",
                                    [&](int ready) { return mysql_real_query_cont(&failed, mysql_, ready); });
  if (!waited.ok()) return waited;
  return failed == 0 ? absl::OkStatus() : Error();
}

absl::Status MysqlConnection::Error() {
  const unsigned number = mysql_errno(mysql_);
  const std::string text = mysql_error(mysql_);
  return absl::Status(CodeOfMysqlError(number),
                      fmt::format("{} (error {})", text.empty() ? "the connection is lost" : text, number));
}

absl::Status MysqlConnection::RowError() {
  // libmariadb hangs up on a row that is longer than it may be, and calls that a lost connection; but the
  // server has not ended it.
  char next = 0;
  const ssize_t peeked = recv(socket_, &next, 1, MSG_PEEK | MSG_DONTWAIT);
  const bool alive = peeked > 0 || (peeked < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
  const unsigned number = mysql_errno(mysql_);
  if (number == CR_NET_PACKET_TOO_LARGE || (number == CR_SERVER_LOST && alive)) return RowTooLong();
  return Error();
}

void MysqlConnection::Break() {
  const auto socket = static_cast<int>(mysql_get_socket(mysql_));
  if (socket >= 0) shutdown(socket, SHUT_RDWR);
}

}  // namespace thermocline::storage::source
