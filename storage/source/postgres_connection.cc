#include "storage/source/postgres_connection.h"

#include <array>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "fmt/format.h"

#include "storage/source/database_url.h"

namespace thermocline::storage::source {
namespace {

using std::chrono::steady_clock;
using Options = std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)>;

constexpr size_t kSqlStateBytes = 5;

std::string Trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  return std::string(text);
}

// nullopt if libpq takes the URL; else what it says.
std::optional<std::string> Complaint(const std::string& url) {
  char* message = nullptr;
  const Options options(PQconninfoParse(url.c_str(), &message), &PQconninfoFree);
  if (options != nullptr) return std::nullopt;
  std::string complaint = message == nullptr ? "out of memory" : Trimmed(message);
  PQfreemem(message);
  return complaint;
}

bool IsSqlState(std::string_view text) {
  return text.size() == kSqlStateBytes &&
         text.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == std::string_view::npos;
}

// Takes the SQLSTATE out of "...FATAL:  28P01: password authentication failed for ...\nLOCATION: ...", the
// only place where libpq has it while it connects.
std::pair<std::string, std::string> TakeSqlState(std::string text) {
  if (const size_t location = text.find("\nLOCATION:"); location != std::string::npos) text.resize(location);
  for (size_t at = text.find(":  "); at != std::string::npos; at = text.find(":  ", at + 1)) {
    const std::string state = text.substr(at + 3, kSqlStateBytes);
    if (!IsSqlState(state) || text.compare(at + 3 + kSqlStateBytes, 2, ": ") != 0) continue;
    text.erase(at + 3, kSqlStateBytes + 2);
    return {std::move(text), state};
  }
  return {std::move(text), ""};
}

// PQcancel waits as long as the system does, so it has a thread, which is left alone if that is too long.
struct Cancellation {
  std::unique_ptr<PGcancel, decltype(&PQfreeCancel)> cancel{nullptr, &PQfreeCancel};
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
};

}  // namespace

absl::StatusCode CodeOfSqlState(std::string_view state) {
  struct Kind {
    std::string_view prefix;
    absl::StatusCode code;
  };
  // Connection, room, operator, transaction, system, inside; the longer prefixes first.
  static constexpr Kind kKinds[] = {
      {"57014", absl::StatusCode::kDeadlineExceeded},  // only statement_timeout, where we have not cancelled
      {"42501", absl::StatusCode::kPermissionDenied}, {"28", absl::StatusCode::kPermissionDenied},
      {"08", absl::StatusCode::kUnavailable},         {"25P03", absl::StatusCode::kUnavailable},
      {"25P04", absl::StatusCode::kUnavailable},      {"40", absl::StatusCode::kUnavailable},
      {"53", absl::StatusCode::kUnavailable},         {"55P03", absl::StatusCode::kUnavailable},
      {"57", absl::StatusCode::kUnavailable},         {"58", absl::StatusCode::kUnavailable},
      {"XX", absl::StatusCode::kUnavailable},
  };
  for (const auto& [prefix, code] : kKinds) {
    if (state.starts_with(prefix)) return code;
  }
  return absl::StatusCode::kInvalidArgument;
}

PostgresConnection::PostgresConnection(const SourceLocation& location, const SocketWait& wait)
    : location_(location), wait_(wait) {}

absl::Status PostgresConnection::Check(const std::string& url) {
  // libpq would take a part of such a password for another part of the URL, and show it in its errors.
  const UrlParts parts = SplitUrl(url);
  if (parts.password.find_first_of("/?#@") != std::string_view::npos)
    return absl::InvalidArgumentError("in the password of the URL, / ? # @ are written %2F %3F %23 %40");
  const std::optional<std::string> complaint = Complaint(url);
  if (!complaint.has_value()) return absl::OkStatus();
  // It shows what it does not like, which may be a secret.
  if (!parts.has_password && parts.settings.empty()) return absl::InvalidArgumentError(*complaint);
  const std::optional<std::string> bare =
      Complaint(fmt::format("{}://{}@{}", parts.scheme, parts.user, parts.place));
  if (bare.has_value()) return absl::InvalidArgumentError(*bare);
  return absl::InvalidArgumentError(
      "the password or a setting behind the ? of the URL is wrong: settings are those of libpq (sslmode, "
      "options, ...), and characters such as @ : / ? # % are written as %40 %3A %2F %3F %23 %25");
}

absl::Status PostgresConnection::Connect() {
  // What comes before the URL is a default, what comes after it counts. A network that is silent ends a
  // connection that has something to send, so that PQcancel does not wait forever.
  const std::string silence = std::to_string(location_.connect_timeout.count());
  const std::array names = {"fallback_application_name", "keepalives_idle",
                            "keepalives_interval",       "keepalives_count",
                            "tcp_user_timeout",          "dbname",
                            "client_encoding",           static_cast<const char*>(nullptr)};
  const std::array values = {"thermocline",
                             "30",
                             "10",
                             "3",
                             silence.c_str(),
                             location_.url.c_str(),
                             "UTF8",
                             static_cast<const char*>(nullptr)};
  const SocketWait::Deadline deadline = steady_clock::now() + location_.connect_timeout;
  connection_.reset(PQconnectStartParams(names.data(), values.data(), 1));
  if (connection_ == nullptr) return absl::UnavailableError("no memory for a connection");
  PQsetErrorVerbosity(get(), PQERRORS_VERBOSE);
  PQsetNoticeProcessor(
      get(), [](void*, const char*) {}, nullptr);
  PostgresPollingStatusType state =
      PQstatus(get()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (state != PGRES_POLLING_OK) {
    if (state == PGRES_POLLING_FAILED) return Broken();
    const int events = state == PGRES_POLLING_READING ? SocketWait::kRead : SocketWait::kWrite;
    const absl::Status ready =
        wait_.Await(PQsocket(get()), events, deadline, "no connection within the connect timeout");
    if (!ready.ok()) return ready;
    state = PQconnectPoll(get());
  }
  PQsetnonblocking(get(), 1);
  connected_ = true;
  return absl::OkStatus();
}

absl::Status PostgresConnection::Broken() const {
  auto [text, state] = TakeSqlState(Trimmed(PQerrorMessage(connection_.get())));
  if (text.empty()) text = "the connection is lost";
  const bool refused = PQconnectionNeedsPassword(connection_.get()) != 0;
  const absl::StatusCode code = refused         ? absl::StatusCode::kPermissionDenied
                                : state.empty() ? absl::StatusCode::kUnavailable
                                                : CodeOfSqlState(state);
  return absl::Status(code, text);
}

absl::Status PostgresConnection::ToStatus(const PGresult* result) {
  switch (PQresultStatus(result)) {
    case PGRES_FATAL_ERROR:
    case PGRES_BAD_RESPONSE:
    case PGRES_NONFATAL_ERROR:
      break;
    default:
      return absl::OkStatus();
  }
  const auto field = [result](int code) {
    const char* text = PQresultErrorField(result, code);
    return std::string(text == nullptr ? "" : text);
  };
  const std::string state = field(PG_DIAG_SQLSTATE);
  // Without one it is libpq itself that speaks.
  if (state.empty()) return absl::UnavailableError(Trimmed(PQresultErrorMessage(result)));
  std::string text = fmt::format("{} (SQLSTATE {})", field(PG_DIAG_MESSAGE_PRIMARY), state);
  for (const int code : {PG_DIAG_MESSAGE_DETAIL, PG_DIAG_MESSAGE_HINT}) {
    if (const std::string more = field(code); !more.empty()) text += "; " + more;
  }
  return absl::Status(CodeOfSqlState(state), text);
}

absl::Status PostgresConnection::Sent(int result) { return result == 1 ? Flush() : Broken(); }

absl::Status PostgresConnection::Flush() {
  const SocketWait::Deadline deadline = steady_clock::now() + location_.idle_timeout;
  for (;;) {
    const int left = PQflush(get());
    if (left == 0) return absl::OkStatus();
    if (left < 0) return Broken();
    const absl::Status ready = wait_.Await(PQsocket(get()), SocketWait::kRead | SocketWait::kWrite, deadline,
                                           "it did not take the query within the idle timeout");
    if (!ready.ok()) return ready;
    if (PQconsumeInput(get()) == 0) return Broken();
  }
}

absl::Status PostgresConnection::Receive() {
  const SocketWait::Deadline deadline = steady_clock::now() + location_.idle_timeout;
  const absl::Status ready = wait_.Await(PQsocket(get()), SocketWait::kRead, deadline,
                                         "it sent nothing for as long as the idle timeout");
  if (!ready.ok()) return ready;
  return PQconsumeInput(get()) == 1 ? absl::OkStatus() : Broken();
}

absl::StatusOr<PostgresResult> PostgresConnection::Result() {
  while (PQisBusy(get()) == 1) {
    if (absl::Status received = Receive(); !received.ok()) return received;
  }
  return PostgresResult(PQgetResult(get()), &PQclear);
}

absl::Status PostgresConnection::Run(const char* statement) {
  if (absl::Status sent = Sent(PQsendQuery(get(), statement)); !sent.ok()) return sent;
  absl::Status outcome;
  for (;;) {
    const absl::StatusOr<PostgresResult> result = Result();
    if (!result.ok()) return result.status();
    if (*result == nullptr) return outcome;
    if (outcome.ok()) outcome = ToStatus(result->get());
  }
}

void PostgresConnection::Stop() {
  auto work = std::make_shared<Cancellation>();
  if (connected_) work->cancel.reset(PQgetCancel(get()));
  if (work->cancel == nullptr) return;
  std::thread thread([work] {
    std::array<char, 256> problem{};
    PQcancel(work->cancel.get(), problem.data(), problem.size());
    // Under the lock: whoever waits must not join before this has been said.
    std::lock_guard lock(work->mutex);
    work->done = true;
    work->changed.notify_all();
  });
  std::unique_lock lock(work->mutex);
  if (work->changed.wait_for(lock, kStopWait, [&] { return work->done; })) {
    lock.unlock();
    thread.join();
  } else {
    thread.detach();
  }
}

}  // namespace thermocline::storage::source
