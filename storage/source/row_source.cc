#include "storage/row_source.h"

#include <atomic>
#include <utility>

#include "fmt/format.h"

#include "storage/source/mysql_query.h"
#include "storage/source/postgres_query.h"
#include "storage/source/query.h"
#include "storage/source/socket_wait.h"

namespace thermocline::storage {
namespace source {
namespace {

class QueryRows final : public RowSource {
 public:
  explicit QueryRows(std::string name) : name_(std::move(name)) {}
  ~QueryRows() override {
    if (running_) query_->Stop();
  }

  // What queries wait with.
  const SocketWait& wait() const { return wait_; }
  // To be called once, before all others.
  void Use(std::unique_ptr<Query> query) { query_ = std::move(query); }

  absl::Status Next(RowBatch& batch) override {
    batch.Clear(columns_.size());
    if (!failure_.ok() || query_ == nullptr) return failure_;
    absl::Status read = wait_.cancelled() ? SocketWait::Cancelled() : Read(batch);
    if (!read.ok()) Fail(read);
    if (!failure_.ok() || batch.empty()) {
      batch.Clear(columns_.size());
      running_ = false;
      query_.reset();
    }
    rows_.fetch_add(batch.rows(), std::memory_order_relaxed);
    return failure_;
  }

  const std::vector<std::string>& columns() const override { return columns_; }
  void Cancel() override { wait_.Cancel(); }
  uint64_t rows() const override { return rows_.load(std::memory_order_relaxed); }
  const std::string& name() const override { return name_; }

 private:
  absl::Status Read(RowBatch& batch) {
    if (!running_) {
      running_ = true;
      if (absl::Status begun = query_->Begin(columns_); !begun.ok()) return begun;
    }
    batch.Clear(columns_.size());
    return query_->Fill(batch);
  }

  void Fail(const absl::Status& status) {
    // After other errors the database has ended the query itself, or is not there.
    const bool given_up = wait_.cancelled() || status.code() == absl::StatusCode::kDeadlineExceeded ||
                          status.code() == absl::StatusCode::kResourceExhausted;
    if (running_ && given_up) query_->Stop();
    // What the database says when it is told to stop is not the reason.
    const absl::Status& reason = wait_.cancelled() ? SocketWait::Cancelled() : status;
    failure_ = absl::Status(reason.code(), fmt::format("{}: {}", name_, std::string(reason.message())));
  }

  const std::string name_;
  SocketWait wait_;
  std::unique_ptr<Query> query_;  // until the end
  bool running_ = false;          // the database may be at work for it
  std::vector<std::string> columns_;
  std::atomic<uint64_t> rows_ = 0;
  absl::Status failure_;
};

}  // namespace

absl::Status RowTooLong() {
  return absl::ResourceExhaustedError(
      fmt::format("a row has more than {} MiB; select fewer or shorter columns", kMaxRowBytes >> 20));
}

}  // namespace source

absl::StatusOr<std::unique_ptr<RowSource>> OpenRowSource(const SourceLocation& location) {
  std::string name = ShownUrl(location.url);
  if (!IsDatabaseUrl(location.url)) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not the URL of a database; it begins with postgresql:// or mysql://", name));
  }
  auto rows = std::make_unique<source::QueryRows>(name);
  absl::StatusOr<std::unique_ptr<source::Query>> query =
      location.url.starts_with("postgres") ? source::MakePostgresQuery(location, rows->wait())
                                           : source::MakeMysqlQuery(location, rows->wait());
  if (!query.ok()) {
    return absl::Status(query.status().code(),
                        fmt::format("{}: {}", name, std::string(query.status().message())));
  }
  rows->Use(*std::move(query));
  return rows;
}

}  // namespace thermocline::storage
