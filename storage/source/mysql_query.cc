#include "storage/source/mysql_query.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "fmt/format.h"

#include "storage/source/mysql_connection.h"

namespace thermocline::storage::source {
namespace {

using std::chrono::milliseconds;

constexpr const char* kSilent = "it sent nothing for as long as the idle timeout";

class MysqlQuery final : public Query {
 public:
  MysqlQuery(const SourceLocation& location, MysqlAddress address, const SocketWait& wait)
      : location_(location), address_(std::move(address)), connection_(wait) {}

  ~MysqlQuery() override {
    if (result_ == nullptr) return;
    // Freeing a result would read all that is left of it.
    if (!ended_) connection_.Break();
    FinishFetch();
    mysql_free_result(result_);
  }

  absl::Status Begin(std::vector<std::string>& columns) override {
    if (absl::Status connected = connection_.Connect(address_, location_.connect_timeout); !connected.ok())
      return connected;
    if (absl::Status prepared = PrepareSession(); !prepared.ok()) return prepared;
    absl::Status sent = location_.parameters.empty() ? Run(location_.query) : Execute();
    if (!sent.ok()) return sent;
    result_ = mysql_use_result(connection_.get());
    if (result_ == nullptr && mysql_errno(connection_.get()) != 0) return connection_.Error();
    if (result_ == nullptr) {
      return absl::InvalidArgumentError(
          "the statement returns no columns; a query is wanted, as \"select id ...\"");
    }
    for (unsigned i = 0; i < mysql_num_fields(result_); ++i) {
      const MYSQL_FIELD* field = mysql_fetch_field_direct(result_, i);
      columns.emplace_back(field->name, field->name_length);
    }
    return absl::OkStatus();
  }

  absl::Status Fill(RowBatch& batch) override {
    while (!IsFull(batch) && !ended_) {
      if (!fetching_) {
        waits_ = mysql_fetch_row_start(&row_, result_);
        fetching_ = true;
      }
      if (waits_ != 0) {
        // What has arrived goes first; the next call goes on here.
        if (!batch.empty()) return absl::OkStatus();
        const absl::Status waited = connection_.Await(std::exchange(waits_, 0), location_.idle_timeout,
                                                      kSilent, [this](int ready) { return Proceed(ready); });
        if (!waited.ok()) return waited;
      }
      fetching_ = false;
      if (row_ != nullptr) {
        AddRow(batch);
      } else if (mysql_errno(connection_.get()) != 0) {
        return connection_.RowError();
      } else {
        ended_ = true;
        return CheckOnlyResult();
      }
    }
    return absl::OkStatus();
  }

  void Stop() override {
    if (connection_.id() == 0 || ended_) return;
    // By a connection of its own, to the same server where a name stands for several.
    MysqlAddress address = address_;
    const std::string& peer = connection_.peer();
    if (!peer.empty() && address.tls != MysqlAddress::Tls::kVerify) address.url.host = peer;
    address.url.database.clear();
    const SocketWait wait;
    MysqlConnection other(wait);
    const auto deadline = std::chrono::steady_clock::now() + kStopWait;
    if (!other.Connect(address, kStopWait).ok()) return;
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
    // It may have ended by itself, and whoever stops it has a reason of their own to tell.
    other.Run(fmt::format("KILL QUERY {}", connection_.id()), std::max(left, milliseconds(1))).IgnoreError();
  }

 private:
  absl::Status Run(std::string_view statement) { return connection_.Run(statement, location_.idle_timeout); }

  absl::Status PrepareSession() {
    for (const char* statement :
         {"SET SESSION TRANSACTION READ ONLY",
          // The server would hang up on whoever takes the next row later than after a minute.
          "SET SESSION net_write_timeout = 86400"}) {
      const absl::Status set = Run(statement);
      // Servers that only speak as MySQL does may not know these.
      if (!set.ok() && set.code() != absl::StatusCode::kInvalidArgument) return set;
    }
    return absl::OkStatus();
  }

  std::string Quoted(std::string_view text) {
    std::string quoted(2 * text.size() + 1, '\0');
    quoted.resize(mysql_real_escape_string(connection_.get(), quoted.data(), text.data(), text.size()));
    return fmt::format("'{}'", quoted);
  }

  absl::Status Execute() {
    absl::Status done = Run("PREPARE thermocline_query FROM " + Quoted(location_.query));
    if (!done.ok()) return done;
    std::string names;
    for (size_t i = 0; i < location_.parameters.size(); ++i) {
      const std::string name = fmt::format("@thermocline_{}", i + 1);
      const std::optional<std::string>& value = location_.parameters[i];
      if (done = Run(fmt::format("SET {} = {}", name, value.has_value() ? Quoted(*value) : "NULL"));
          !done.ok())
        return done;
      names += (names.empty() ? "" : ", ") + name;
    }
    return Run("EXECUTE thermocline_query USING " + names);
  }

  MysqlConnection::Waits Proceed(int ready) { return mysql_fetch_row_cont(&row_, result_, ready); }

  // Lets a fetch that is under way come to its end, which a broken connection has.
  void FinishFetch() {
    while (waits_ != 0) waits_ = Proceed(MYSQL_WAIT_TIMEOUT);
  }

  void AddRow(RowBatch& batch) {
    const unsigned long* lengths = mysql_fetch_lengths(result_);  // NOLINT: libmariadb's type
    for (size_t i = 0; i < batch.columns(); ++i) {
      if (row_[i] == nullptr) {
        batch.AddNull();
      } else {
        batch.Add({row_[i], lengths[i]});
      }
    }
    batch.EndRow();
  }

  // A procedure may return several results; one of them would be a part, without a word.
  absl::Status CheckOnlyResult() {
    if (mysql_more_results(connection_.get()) == 0) return absl::OkStatus();
    int next = 0;
    const MysqlConnection::Waits waits = mysql_next_result_start(&next, connection_.get());
    const absl::Status waited = connection_.Await(waits, location_.idle_timeout, kSilent, [&](int ready) {
      return mysql_next_result_cont(&next, connection_.get(), ready);
    });
    if (!waited.ok()) return waited;
    if (next > 0) return connection_.Error();
    if (mysql_field_count(connection_.get()) == 0) return absl::OkStatus();
    connection_.Break();
    return absl::InvalidArgumentError("the statement returns more than one result; a single query is wanted");
  }

  const SourceLocation location_;
  const MysqlAddress address_;
  MysqlConnection connection_;
  MYSQL_RES* result_ = nullptr;
  MYSQL_ROW row_ = nullptr;
  bool fetching_ = false;             // a fetch has begun
  MysqlConnection::Waits waits_ = 0;  // of the fetch that has begun
  bool ended_ = false;                // all of the result was read
};

}  // namespace

absl::StatusOr<std::unique_ptr<Query>> MakeMysqlQuery(const SourceLocation& location,
                                                      const SocketWait& wait) {
  absl::StatusOr<MysqlAddress> address = ParseMysqlUrl(location.url);
  if (!address.ok()) return address.status();
  return std::make_unique<MysqlQuery>(location, *std::move(address), wait);
}

}  // namespace thermocline::storage::source
