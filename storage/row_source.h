#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace thermocline::storage {

// A query, and the database that answers it.
struct SourceLocation {
  // postgresql://user:password@host:port/database?sslmode=...   also postgres://
  //   as libpq has them: every setting of libpq after the '?', several hosts, environment, ~/.pgpass.
  // mysql://user:password@host:port/database?socket=...         also mariadb://
  //   settings: socket, ssl-mode (disabled, required, verify), ssl-ca, ssl-cert, ssl-key (PEM files). Whoever
  //   names an ssl-ca means ssl-mode=verify. Without a password, that of the environment's MYSQL_PWD counts.
  // Characters with a meaning of their own are written as %40 and the like.
  std::string url;
  // One statement that returns rows. It runs read-only where the database knows that.
  std::string query;
  // For $1, $2, ... (PostgreSQL) or each ? (MariaDB); nullopt is NULL. They are sent as text and never become
  // a part of the statement. PostgreSQL takes each for the type that its place wants; in MariaDB it is a
  // string, which compares with a number as that number.
  std::vector<std::optional<std::string>> parameters;
  std::chrono::milliseconds connect_timeout{10'000};
  // The longest wait for the next of what the database sends. The first row may take as long as a sort does.
  std::chrono::milliseconds idle_timeout{600'000};
};

// Some rows, as text: what the database prints for a value. NULL is nullopt.
class RowBatch {
 public:
  bool empty() const { return rows_ == 0; }
  size_t rows() const { return rows_; }
  size_t columns() const { return columns_; }
  size_t text_bytes() const { return text_.size(); }

  // Requires row < rows() and column < columns(). Valid until the batch changes.
  std::optional<std::string_view> at(size_t row, size_t column) const {
    const size_t field = row * columns_ + column;
    if ((ends_[field] & kNull) != 0) return std::nullopt;
    const uint64_t begin = field == 0 ? 0 : ends_[field - 1] & ~kNull;
    return std::string_view(text_).substr(begin, ends_[field] - begin);
  }

  // For those who fill it: a batch has whole rows only once each row's fields and then EndRow() were given.
  void Clear(size_t columns) {
    columns_ = columns;
    rows_ = 0;
    text_.clear();
    ends_.clear();
  }
  void Add(std::string_view text) {
    text_.append(text);
    EndField();
  }
  void AddNull() { ends_.push_back(text_.size() | kNull); }
  // Text that belongs to the field that EndField() ends.
  std::string& text() { return text_; }
  void EndField() { ends_.push_back(text_.size()); }
  void EndRow() { ++rows_; }

 private:
  static constexpr uint64_t kNull = uint64_t{1} << 63;

  size_t columns_ = 0;
  size_t rows_ = 0;
  std::string text_;            // of all fields, one behind the other
  std::vector<uint64_t> ends_;  // of each field in text_, with kNull
};

// A batch has at most so many rows, and ends with the row that takes its text to so many bytes.
inline constexpr size_t kMaxBatchRows = 4096;
inline constexpr size_t kMaxBatchBytes = 256 << 10;
// Longer rows are refused.
inline constexpr size_t kMaxRowBytes = 16 << 20;

// The rows of one query, as they arrive: the result is never held, and a reader that is slow slows the
// database down. Memory: a batch, and what the database's library reads ahead (some ten KiB) or one row, of
// at most kMaxRowBytes. libpq alone holds even a longer row as a whole, up to PostgreSQL's own limit of 1
// GiB, before it can be refused.
//
// For one thread at a time, but for what says otherwise. Errors name the source (as ShownUrl does) and bring
// what the database said; the same comes from then on:
//   UNAVAILABLE         it cannot be reached, has broken the connection off, has no room, or failed inside
//   DEADLINE_EXCEEDED   one of the timeouts of SourceLocation has passed, or the database's own
//   PERMISSION_DENIED   it refused the login, or the user may not read this
//   INVALID_ARGUMENT    the statement or its parameters are wrong, failed while they ran, or want to write
//   RESOURCE_EXHAUSTED  a row has more than kMaxRowBytes
//   CANCELLED           by Cancel()
// Rows that came before an error are not to be taken for the result.
class RowSource {
 public:
  // Ends the query: if it still runs, the database is told so, which may take kStopWait.
  virtual ~RowSource() = default;

  // Waits for rows and replaces what is in `batch` by those that have arrived, at least one; none at the end.
  // The first call connects and sends the query.
  virtual absl::Status Next(RowBatch& batch) = 0;

  // The names of the columns; known when a Next() has returned OK.
  virtual const std::vector<std::string>& columns() const = 0;

  // Ends a waiting Next() soon, and all that follow. The database is told to stop by that Next(), the next
  // one, or the destructor; looking up a host's name is not interrupted. From any thread. Idempotent.
  virtual void Cancel() = 0;

  // How many rows have come. From any thread.
  virtual uint64_t rows() const = 0;

  // The source, as errors name it.
  virtual const std::string& name() const = 0;
};

// The longest that telling a database to stop may take.
inline constexpr std::chrono::milliseconds kStopWait{2'000};

// True if `text` begins like the URL of a database that can be read here.
bool IsDatabaseUrl(std::string_view text);

// A URL without what is secret in it, for people: no password, no settings.
std::string ShownUrl(std::string_view url);

// Does not connect yet. INVALID_ARGUMENT: the URL is none, or has settings that nobody knows.
absl::StatusOr<std::unique_ptr<RowSource>> OpenRowSource(const SourceLocation& location);

}  // namespace thermocline::storage
