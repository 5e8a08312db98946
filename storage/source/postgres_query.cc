#include "storage/source/postgres_query.h"

#include <string_view>
#include <utility>

#include "fmt/format.h"

#include "storage/source/copy_text.h"
#include "storage/source/postgres_connection.h"

namespace thermocline::storage::source {
namespace {

constexpr int kVersionWithConnectionChecks = 140000;

// Parentheses close behind a query, not behind the ; that ends a statement.
std::string_view WithoutEnd(std::string_view query) {
  const size_t last = query.find_last_not_of("; \t\r\n\f\v");
  return query.substr(0, last + 1);
}

class PostgresQuery final : public Query {
 public:
  PostgresQuery(const SourceLocation& location, const SocketWait& wait)
      : location_(location), connection_(location_, wait) {}

  absl::Status Begin(std::vector<std::string>& columns) override {
    if (absl::Status connected = connection_.Connect(); !connected.ok()) return connected;
    if (absl::Status begun = BeginTransaction(); !begun.ok()) return begun;
    if (absl::Status prepared = Prepare(columns); !prepared.ok()) return prepared;
    if (location_.parameters.empty()) {
      const absl::StatusOr<bool> copying = BeginCopy();
      if (!copying.ok()) return copying.status();
      copying_ = *copying;
      if (copying_) return absl::OkStatus();
      // The statement itself was found right, so it is COPY that does not take it.
      if (absl::Status undone = connection_.Run("ROLLBACK"); !undone.ok()) return undone;
      if (absl::Status begun = BeginTransaction(); !begun.ok()) return begun;
      if (absl::Status prepared = Prepare(columns); !prepared.ok()) return prepared;
    }
    return BeginRows();
  }

  absl::Status Fill(RowBatch& batch) override {
    while (!IsFull(batch) && !ended_) {
      const absl::StatusOr<Step> step = copying_ ? CopyRow(batch) : ResultRow(batch);
      if (!step.ok()) return step.status();
      ended_ = *step == Step::kEnd;
      if (*step != Step::kNothingYet) continue;
      // What has arrived goes first.
      if (!batch.empty()) break;
      if (absl::Status received = connection_.Receive(); !received.ok()) return received;
    }
    return absl::OkStatus();
  }

  void Stop() override {
    if (!ended_) connection_.Stop();
  }

 private:
  enum class Step { kRow, kNothingYet, kEnd };

  absl::Status BeginTransaction() {
    if (absl::Status begun = connection_.Run("BEGIN READ ONLY"); !begun.ok()) return begun;
    if (PQserverVersion(connection_.get()) < kVersionWithConnectionChecks) return absl::OkStatus();
    // Should this process end without a word, the server stops soon, even before it has a row to send.
    if (connection_.Run("SET LOCAL client_connection_check_interval = '2s'").ok()) return absl::OkStatus();
    if (absl::Status undone = connection_.Run("ROLLBACK"); !undone.ok()) return undone;
    return connection_.Run("BEGIN READ ONLY");
  }

  // Waits for what the server says to one request; the last of its results.
  absl::StatusOr<PostgresResult> Answer() {
    PostgresResult last(nullptr, &PQclear);
    for (;;) {
      absl::StatusOr<PostgresResult> result = connection_.Result();
      if (!result.ok()) return result.status();
      if (*result == nullptr) break;
      if (absl::Status status = PostgresConnection::ToStatus(result->get()); !status.ok()) return status;
      last = *std::move(result);
    }
    if (last == nullptr) return connection_.Broken();
    return last;
  }

  // Lets the server read the statement, which must be a single one, and tell what it would return.
  absl::Status Prepare(std::vector<std::string>& columns) {
    PGconn* pg = connection_.get();
    absl::Status sent = connection_.Sent(PQsendPrepare(pg, "", location_.query.c_str(), 0, nullptr));
    if (!sent.ok()) return sent;
    if (const auto prepared = Answer(); !prepared.ok()) return prepared.status();
    if (sent = connection_.Sent(PQsendDescribePrepared(pg, "")); !sent.ok()) return sent;
    const absl::StatusOr<PostgresResult> described = Answer();
    if (!described.ok()) return described.status();
    const auto parameters = static_cast<size_t>(PQnparams(described->get()));
    if (parameters != location_.parameters.size()) {
      return absl::InvalidArgumentError(fmt::format("the query has {} parameters ($1, ...), and {} are given",
                                                    parameters, location_.parameters.size()));
    }
    columns.clear();
    for (int i = 0; i < PQnfields(described->get()); ++i) columns.emplace_back(PQfname(described->get(), i));
    if (!columns.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "the statement returns no columns; a query is wanted, as \"select id ...\"");
  }

  // False if COPY does not take such a statement.
  absl::StatusOr<bool> BeginCopy() {
    // On a line of its own, for the query may end with a comment.
    const std::string copy = fmt::format("COPY (\n{}\n) TO STDOUT", WithoutEnd(location_.query));
    absl::Status sent = connection_.Sent(PQsendQuery(connection_.get(), copy.c_str()));
    if (!sent.ok()) return sent;
    const absl::StatusOr<PostgresResult> result = connection_.Result();
    if (!result.ok()) return result.status();
    if (*result == nullptr) return connection_.Broken();
    if (PQresultStatus(result->get()) == PGRES_COPY_OUT) return true;
    const char* state = PQresultErrorField(result->get(), PG_DIAG_SQLSTATE);
    const std::string_view reason = state == nullptr ? "" : state;
    absl::Status failed = PostgresConnection::ToStatus(result->get());
    if (reason != "42601" && reason != "0A000") {
      return failed.ok() ? absl::InvalidArgumentError("COPY returned no rows") : failed;
    }
    if (const auto rest = connection_.Result(); !rest.ok()) return rest.status();
    return false;
  }

  absl::Status BeginRows() {
    std::vector<const char*> values;
    for (const std::optional<std::string>& value : location_.parameters) {
      values.push_back(value.has_value() ? value->c_str() : nullptr);
    }
    PGconn* pg = connection_.get();
    absl::Status sent = connection_.Sent(
        PQsendQueryPrepared(pg, "", static_cast<int>(values.size()), values.data(), nullptr, nullptr, 0));
    if (!sent.ok()) return sent;
    return PQsetSingleRowMode(pg) == 1 ? absl::OkStatus() : connection_.Broken();
  }

  absl::StatusOr<Step> CopyRow(RowBatch& batch) {
    char* bytes = nullptr;
    const int size = PQgetCopyData(connection_.get(), &bytes, 1);
    if (size == 0) return Step::kNothingYet;
    if (size == -2) return connection_.Broken();
    if (size < 0) return EndOfCopy();
    const std::unique_ptr<char, decltype(&PQfreemem)> owner(bytes, &PQfreemem);
    std::string_view line(bytes, static_cast<size_t>(size));
    if (line.size() > kMaxRowBytes) return RowTooLong();
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (AddCopyRow(line, batch)) return Step::kRow;
    return absl::UnavailableError("it sent a row that does not have the columns it told of");
  }

  absl::StatusOr<Step> EndOfCopy() {
    if (const auto rest = Answer(); !rest.ok()) return rest.status();
    return Step::kEnd;
  }

  absl::StatusOr<Step> ResultRow(RowBatch& batch) {
    if (PQisBusy(connection_.get()) == 1) return Step::kNothingYet;
    const PostgresResult result(PQgetResult(connection_.get()), &PQclear);
    if (result == nullptr) return Step::kEnd;
    if (absl::Status status = PostgresConnection::ToStatus(result.get()); !status.ok()) return status;
    // The last result has no row: it says only that all have come.
    if (PQresultStatus(result.get()) != PGRES_SINGLE_TUPLE) return ResultRow(batch);
    size_t bytes = 0;
    for (int i = 0; i < PQnfields(result.get()); ++i) {
      const auto size = static_cast<size_t>(PQgetlength(result.get(), 0, i));
      if ((bytes += size) > kMaxRowBytes) return RowTooLong();
      if (PQgetisnull(result.get(), 0, i) == 1) {
        batch.AddNull();
      } else {
        batch.Add({PQgetvalue(result.get(), 0, i), size});
      }
    }
    batch.EndRow();
    return Step::kRow;
  }

  const SourceLocation location_;
  PostgresConnection connection_;
  bool copying_ = false;
  bool ended_ = false;  // all rows have come
};

}  // namespace

absl::StatusOr<std::unique_ptr<Query>> MakePostgresQuery(const SourceLocation& location,
                                                         const SocketWait& wait) {
  if (absl::Status checked = PostgresConnection::Check(location.url); !checked.ok()) return checked;
  for (const std::optional<std::string>& value : location.parameters) {
    if (value.has_value() && value->find('\0') != std::string::npos) {
      return absl::InvalidArgumentError("a parameter has a byte of value 0, which PostgreSQL's texts cannot");
    }
  }
  if (location.query.find('\0') != std::string::npos)
    return absl::InvalidArgumentError("the query has a byte of value 0");
  return std::make_unique<PostgresQuery>(location, wait);
}

}  // namespace thermocline::storage::source
