#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "storage/row_source.h"
#include "tests/support/database_server.h"

namespace thermocline::storage {

using Kind = testing::DatabaseServer::Kind;

// One server of each kind for the whole program, started when it is first wanted.
absl::StatusOr<testing::DatabaseServer*> TheServer(Kind kind);

// What every kind of database must do alike.
class SourceTest : public ::testing::TestWithParam<Kind> {
 protected:
  using Row = std::vector<std::optional<std::string>>;

  void SetUp() override {
    const auto server = TheServer(GetParam());
    if (absl::IsNotFound(server.status())) GTEST_SKIP() << server.status().message();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *server;
  }

  bool postgres() const { return GetParam() == Kind::kPostgres; }
  // The same in the words of either.
  std::string Sql(const std::string& postgres_words, const std::string& mariadb_words) const {
    return postgres() ? postgres_words : mariadb_words;
  }
  // Whole numbers from 1, in a column named id.
  std::string Numbers(uint64_t count) const {
    const std::string last = std::to_string(count);
    // Not "from generate_series()", which PostgreSQL would hold as a whole.
    return Sql("select id from (select generate_series(1, " + last + ") as id) as numbers",
               "select seq as id from seq_1_to_" + last);
  }

  SourceLocation Location(const std::string& query) const { return {.url = server_->Url(), .query = query}; }
  std::unique_ptr<RowSource> Open(const SourceLocation& location) {
    auto rows = OpenRowSource(location);
    EXPECT_TRUE(rows.ok()) << rows.status();
    return *std::move(rows);
  }
  std::unique_ptr<RowSource> Open(const std::string& query) { return Open(Location(query)); }

  // All rows; a failure fails the test.
  std::vector<Row> All(const SourceLocation& location) {
    std::vector<Row> all;
    const auto rows = Open(location);
    RowBatch batch;
    absl::Status read;
    while ((read = rows->Next(batch)).ok() && !batch.empty()) {
      for (size_t row = 0; row < batch.rows(); ++row) {
        all.emplace_back();
        for (size_t column = 0; column < batch.columns(); ++column)
          all.back().emplace_back(batch.at(row, column));
      }
    }
    EXPECT_TRUE(read.ok()) << read;
    EXPECT_EQ(rows->rows(), all.size());
    return all;
  }
  std::vector<Row> All(const std::string& query) { return All(Location(query)); }

  // How reading to the end ends.
  absl::Status End(RowSource& rows) {
    RowBatch batch;
    absl::Status read;
    while ((read = rows.Next(batch)).ok() && !batch.empty()) {
    }
    return read;
  }
  absl::Status End(const SourceLocation& location) { return End(*Open(location)); }
  absl::Status End(const std::string& query) { return End(Location(query)); }

  testing::DatabaseServer* server_ = nullptr;
};

inline std::string KindName(const ::testing::TestParamInfo<Kind>& info) {
  return info.param == Kind::kPostgres ? "Postgres" : "Mariadb";
}

}  // namespace thermocline::storage
