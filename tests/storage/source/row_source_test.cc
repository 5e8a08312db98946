// What a query brings, from real databases of either kind.

#include "storage/row_source.h"

#include <cstdio>
#include <fstream>
#include <unistd.h>

#include "fmt/format.h"

#include "storage/id_source.h"
#include "tests/storage/source/source_fixture.h"

namespace thermocline::storage {

absl::StatusOr<testing::DatabaseServer*> TheServer(Kind kind) {
  struct Servers : ::testing::Environment {
    void TearDown() override { servers.clear(); }
    std::map<Kind, absl::StatusOr<std::unique_ptr<testing::DatabaseServer>>> servers;
  };
  static auto* const all = static_cast<Servers*>(::testing::AddGlobalTestEnvironment(new Servers));
  auto& server = all->servers.try_emplace(kind, absl::UnknownError("")).first->second;
  if (absl::IsUnknown(server.status())) server = testing::DatabaseServer::Start(kind);
  if (!server.ok()) return server.status();
  return server->get();
}

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Optional;

INSTANTIATE_TEST_SUITE_P(Databases, SourceTest, ::testing::Values(Kind::kPostgres, Kind::kMariadb), KindName);

uint64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

TEST_P(SourceTest, BringsTextsAndNulls) {
  const auto rows =
      All(Sql(R"(select 7::bigint, null::int, 1.50::numeric, true, e'a\tb\nc\\d\\N', '', 'grüße 🐟',)"
              R"( '\N', e'\r\b\f\x0b' as "last one" -- a comment)",
              R"(select 7, null, 1.50, true, 'a\tb\nc\\d\\N', '', 'grüße 🐟', '\\N', '\r\b\f\v' as)"
              R"( `last one` -- a comment)"));
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_THAT(rows[0], ElementsAre("7", std::nullopt, "1.50", Sql("t", "1"), "a\tb\nc\\d\\N", "", "grüße 🐟",
                                   "\\N", Sql("\r\b\f\v", "\r\bfv")));
}

TEST_P(SourceTest, KnowsTheColumnsOfAnEmptyResult) {
  const auto rows = Open("select 1 as id, 2 as \"id\", 3 as other where 1 = 0");
  RowBatch batch;
  ASSERT_TRUE(rows->Next(batch).ok());
  EXPECT_TRUE(batch.empty());
  EXPECT_THAT(rows->columns(), ElementsAre("id", "id", "other"));
  EXPECT_TRUE(rows->Next(batch).ok()) << "the end stays the end";
  EXPECT_EQ(rows->rows(), 0U);
}

TEST_P(SourceTest, TakesParametersAsValues) {
  SourceLocation location =
      Location(Sql("select $1::text, $2::bigint + 1, $3::text, $4::text", "select ?, ? + 1, ?, ?"));
  const std::string quotes = "'; drop table x; -- \\' \" ü";
  location.parameters = {quotes, "41", std::nullopt, ""};
  const auto rows = All(location);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_THAT(rows[0], ElementsAre(quotes, "42", std::nullopt, ""));

  location = Location(Numbers(100'000) + Sql(" where id > $1", " where seq > ?"));
  location.parameters = {"40000"};
  EXPECT_EQ(All(location).size(), 60'000U) << "many rows, with a parameter";
  location.parameters = {"1", "2"};
  EXPECT_TRUE(absl::IsInvalidArgument(End(location))) << "one too many";
  location.parameters = {};
  EXPECT_TRUE(absl::IsInvalidArgument(End(location))) << "one is missing";
}

TEST_P(SourceTest, RunsWhatIsNoSelect) {
  EXPECT_EQ(All(Sql("show server_version", "show variables like 'version'")).size(), 1U);
  EXPECT_EQ(All("values (1), (2)").size(), 2U);
  EXPECT_GE(All("explain select 1").size(), 1U);
  EXPECT_EQ(All("with t as (select 1 as a) select a from t ; ").size(), 1U);
}

TEST_P(SourceTest, HoldsABatchOfMillionsOfRows) {
  constexpr uint64_t kRows = 1'000'000;
  const auto rows = Open(Sql("select generate_series(1, 1000000), repeat('x', 100)",
                             "select seq, repeat('x', 100) from seq_1_to_1000000"));
  RowBatch batch;
  ASSERT_TRUE(rows->Next(batch).ok());
  const uint64_t before = ResidentBytes();
  uint64_t most = before;
  uint64_t sum = 0;
  while (!batch.empty()) {
    ASSERT_LE(batch.rows(), kMaxBatchRows);
    ASSERT_LE(batch.text_bytes(), kMaxBatchBytes + 200);
    for (size_t row = 0; row < batch.rows(); ++row) sum += ReadId(*batch.at(row, 0)).value_or(0);
    most = std::max(most, ResidentBytes());
    ASSERT_TRUE(rows->Next(batch).ok());
  }
  EXPECT_EQ(rows->rows(), kRows);
  EXPECT_EQ(sum, kRows * (kRows + 1) / 2);
  // The result has more than 100 MB. AddressSanitizer keeps what was freed, and that is every row in turn.
#ifdef __SANITIZE_ADDRESS__
  constexpr uint64_t kMostGrowth = uint64_t{512} << 20;
#else
  constexpr uint64_t kMostGrowth = uint64_t{4} << 20;
#endif
  EXPECT_LT(most - before, kMostGrowth);
  fmt::print("grown by {} KiB\n", (most - before) >> 10);
}

TEST_P(SourceTest, BringsLongRowsAndRefusesTooLongOnes) {
  const auto row_of = [&](uint64_t bytes) { return fmt::format("select 1, repeat('x', {})", bytes); };
  EXPECT_EQ(All(row_of(kMaxRowBytes - 1000))[0][1]->size(), kMaxRowBytes - 1000);
  const absl::Status refused = End(row_of(kMaxRowBytes + 1000));
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("16 MiB"));
}

TEST_P(SourceTest, ReadsIds) {
  const auto ids = MakeIdSource(Open(Numbers(10'000)));
  std::vector<uint64_t> all;
  for (;;) {
    const auto some = ids->Next();
    ASSERT_TRUE(some.ok()) << some.status();
    if (some->empty()) break;
    all.insert(all.end(), some->begin(), some->end());
  }
  ASSERT_EQ(all.size(), 10'000U);
  EXPECT_EQ(all.front(), 1U);
  EXPECT_EQ(all.back(), 10'000U);
}

}  // namespace
}  // namespace thermocline::storage
