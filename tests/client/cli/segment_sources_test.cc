// Segments from several files and databases at once, and timelines of queries, with the real server and real
// databases.

#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "client/cli/run.h"
#include "tests/client/cli/input.h"
#include "tests/support/database_server.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace thermocline::cli {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using thermocline::testing::DatabaseServer;
using thermocline::testing::ServerProcess;

struct Outcome {
  ExitCode code;
  std::string out;
  std::string err;
};

class SegmentSourcesTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    postgres_ = DatabaseServer::Start(DatabaseServer::Kind::kPostgres);
    mariadb_ = DatabaseServer::Start(DatabaseServer::Kind::kMariadb);
  }
  static void TearDownTestSuite() {
    postgres_ = absl::UnknownError("ended");
    mariadb_ = absl::UnknownError("ended");
  }

  void SetUp() override {
    for (const absl::Status& status : {postgres_.status(), mariadb_.status()}) {
      if (absl::IsNotFound(status)) GTEST_SKIP() << status.message();
      ASSERT_TRUE(status.ok()) << status;
    }
    auto server = ServerProcess::Start({.flags = {"--memory", "256MiB"}, .data_directory = ""});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_EQ(Segment({"add", "s", "1"}).code, kOk);
  }

  Outcome Segment(std::vector<std::string> arguments) { return SegmentFrom(-1, std::move(arguments)); }
  Outcome SegmentFrom(int input, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", server_->address(), "segment"});
    return RunFrom(input, std::move(arguments));
  }
  static Outcome RunFrom(int input, std::vector<std::string> arguments) {
    std::ostringstream out;
    std::ostringstream err;
    Io io{.in = input, .out = out, .err = err};
    const ExitCode code = cli::Run(arguments, io);
    return {code, out.str(), err.str()};
  }
  std::string Count(const std::string& expression) { return Segment({"count", expression}).out; }

  std::string File(const std::string& name, uint64_t begin, uint64_t end) {
    std::string path = directory_.Path(name);
    std::ofstream file(path);
    for (uint64_t id = begin; id < end; ++id) file << id << "\n";
    return path;
  }

  static absl::StatusOr<std::unique_ptr<DatabaseServer>> postgres_;
  static absl::StatusOr<std::unique_ptr<DatabaseServer>> mariadb_;
  thermocline::testing::TempDirectory directory_;
  std::unique_ptr<ServerProcess> server_;
};

absl::StatusOr<std::unique_ptr<DatabaseServer>> SegmentSourcesTest::postgres_ = absl::UnknownError("");
absl::StatusOr<std::unique_ptr<DatabaseServer>> SegmentSourcesTest::mariadb_ = absl::UnknownError("");

TEST_F(SegmentSourcesTest, LoadsManyAtOnce) {
  const Outcome loaded =
      Segment({"load", "s", File("a", 0, 100'000), File("b", 100'000, 150'000), "--from", (*postgres_)->Url(),
               "--query", "select generate_series(200000, 499999)", "--from", (*mariadb_)->Url(), "--query",
               "select seq + 600000 from seq_0_to_199999", "--count-changed"});
  EXPECT_EQ(loaded.code, kOk) << loaded.err;
  EXPECT_THAT(loaded.out, HasSubstr("650 000 ids loaded into s"));
  EXPECT_THAT(loaded.out, HasSubstr(", 650 000 different"));
  EXPECT_EQ(Count("s"), "650000\n");

  const Outcome removed =
      Segment({"remove", "s", "0", "--from", (*postgres_)->Url(), "--query",
               "select g from (select generate_series(1, 999) as g) x where g % $1 = 0", "--query",
               "select g from (select generate_series(1000, 1999) as g) x where g % $1 = 0", "--param", "2"});
  EXPECT_EQ(removed.code, kOk) << removed.err;
  EXPECT_THAT(removed.out, HasSubstr("1 000 ids removed from s"));
  EXPECT_EQ(Count("s"), "649000\n");
  EXPECT_EQ(Segment({"add", "t", "7", "--from", (*mariadb_)->Url(), "--query", "select 'x', 8 as id"}).code,
            kOk);
  EXPECT_EQ(Segment({"query", "t"}).out, "7\n8\n");
}

TEST_F(SegmentSourcesTest, ChangesNothingIfOneFails) {
  const std::vector<std::string> good = {"load",
                                         "s",
                                         File("a", 0, 100'000),
                                         "--from",
                                         (*postgres_)->Url(),
                                         "--query",
                                         "select generate_series(1, 100000000)",
                                         "--from"};
  const auto with = [&](const std::string& url, const std::string& query) {
    std::vector<std::string> arguments = good;
    arguments.insert(arguments.end(), {url, "--query", query});
    const Outcome outcome = Segment(arguments);
    EXPECT_THAT(outcome.err, EndsWith("the segment was not changed\n"));
    EXPECT_THAT(outcome.err, Not(HasSubstr("s3cret")));
    EXPECT_EQ(Segment({"query", "s"}).out, "1\n");
    return outcome;
  };
  const Outcome wrong = with((*mariadb_)->Url(), "select id from nothing");
  EXPECT_EQ(wrong.code, kUsage);
  EXPECT_THAT(wrong.err,
              AllOf(HasSubstr("INVALID_ARGUMENT: mysql://tester@127.0.0.1:"), HasSubstr("nothing")));
  const Outcome late = with((*postgres_)->Url(), "select 1 / (300000 - generate_series(1, 1000000))");
  EXPECT_EQ(late.code, kUsage);
  EXPECT_THAT(late.err, AllOf(HasSubstr("division by zero"), HasSubstr("(query 2)")));
  EXPECT_EQ(with((*mariadb_)->Url("tester", "wrong"), "select 1").code, kServer);
  EXPECT_EQ(with("postgresql://u@127.0.0.1:1/d", "select 1").code, kServer);
}

TEST_F(SegmentSourcesTest, DoesNotWaitForAPipeWhenADatabaseFails) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  // Nobody ever writes to it or closes it.
  const Outcome outcome =
      SegmentFrom(ends[0], {"load", "s", "-", "--from", (*postgres_)->Url(), "--query", "select 1 / 0"});
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(outcome.code, kUsage);
  EXPECT_THAT(outcome.err, HasSubstr("division by zero"));
  EXPECT_EQ(Segment({"query", "s"}).out, "1\n");
}

TEST_F(SegmentSourcesTest, SkipsOrStopsAtRowsThatAreNoIds) {
  const std::string query = "values ('5'), (null), ('x'), ('6')";
  Outcome outcome = Segment({"load", "s", "--from", (*postgres_)->Url(), "--query", query});
  EXPECT_EQ(outcome.code, kRejected);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("row 2: NULL is not an id"), HasSubstr("row 3: \"x\" is not an id")));
  EXPECT_THAT(outcome.out, HasSubstr("2 rows rejected"));
  EXPECT_EQ(Segment({"query", "s"}).out, "5\n6\n");
  outcome = Segment({"load", "s", "--from", (*postgres_)->Url(), "--query", query, "--on-error", "stop"});
  EXPECT_EQ(outcome.code, kRejected);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("row 2"), Not(HasSubstr("row 3")), EndsWith("the segment was not changed\n")));
  outcome = Segment({"load", "s", File("a", 0, 9), "--from", (*mariadb_)->Url(), "--query", "select 'x'"});
  EXPECT_EQ(outcome.code, kRejected) << "nothing of the query's is an id";
  EXPECT_EQ(Segment({"query", "s"}).out, "5\n6\n");
}

// Needs no server but the databases'.
class TimelineSourcesTest : public SegmentSourcesTest {
 protected:
  static Outcome Chart(const std::string& url, const std::string& query, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"timeline", "--from", url, "--query", query, "--start", "s", "--end", "e"});
    return RunFrom(-1, more);
  }
};

TEST_F(TimelineSourcesTest, ChartsTheRowsOfAQuery) {
  const char* const kExpected =
      "at,running\n2025-01-01T00:00:00Z,1\n2025-01-02T12:00:00.25Z,2\n2025-01-03T00:00:00Z,1\n";
  Outcome outcome =
      Chart((*postgres_)->Url(),
            "select * from (values (1, timestamptz '2025-01-01 02:00+02', timestamp '2025-01-03'), "
            "(2, '2025-01-02 12:00:00.25+00', null), (3, null, now()::timestamp), "
            "(4, 'infinity', null)) as t(n, s, e) where n < $1",
            {"--param", "9"});
  EXPECT_EQ(outcome.code, kOk) << outcome.err;
  EXPECT_EQ(outcome.out, kExpected);
  EXPECT_THAT(outcome.err, HasSubstr("2 intervals of 4 rows, 1 without an end, 2 rows not started"));
  outcome = Chart((*mariadb_)->Url(),
                  "select timestamp '2025-01-01 00:00' as s, timestamp '2025-01-03 00:00' as e union all "
                  "select timestamp '2025-01-02 12:00:00.25', null union all select null, null");
  EXPECT_EQ(outcome.code, kOk) << outcome.err;
  EXPECT_EQ(outcome.out, kExpected);
  outcome = Chart((*postgres_)->Url(), "select g as s, g + 10 as e from generate_series(1, 300000) as g");
  EXPECT_EQ(outcome.code, kOk) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("\n10,10\n"), EndsWith("\n300010,0\n")));
}

TEST_F(TimelineSourcesTest, SaysWhatIsWrong) {
  const std::string url = (*postgres_)->Url();
  const auto error = [](const Outcome& outcome, ExitCode code) {
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_THAT(outcome.err, Not(HasSubstr("s3cret")));
    return outcome.err;
  };
  EXPECT_THAT(error(Chart(url, "select 2 as s, 1 as e"), kUsage),
              HasSubstr("row 1: the interval ends before"));
  EXPECT_THAT(error(Chart(url, "select 'x' as s, 1 as e"), kUsage), HasSubstr("row 1: s is no time: \"x\""));
  EXPECT_THAT(error(Chart(url, "select 2 as a, 1 as b"), kUsage),
              HasSubstr("there is no column \"s\"; the query has these: a, b"));
  EXPECT_THAT(error(Chart(url, "select nonsense"), kUsage), HasSubstr("nonsense"));
  EXPECT_THAT(error(Chart((*postgres_)->Url("tester", "wrong"), "select 1"), kServer), HasSubstr("password"));
  EXPECT_THAT(error(Chart(url, "select 2 as s, 1 as e", {"file.csv"}), kUsage), HasSubstr("--from"));
  EXPECT_THAT(error(RunFrom(-1, {"timeline"}), kUsage), HasSubstr("FILE or --from"));
  EXPECT_THAT(error(RunFrom(-1, {"timeline", "--from", url}), kUsage), HasSubstr("--query"));
  EXPECT_THAT(error(RunFrom(-1, {"timeline", "a.csv", "--query", "select 1"}), kUsage), HasSubstr("--from"));
  const Outcome skipped = Chart(url, "select 2 as s, 1 as e union all select 1, 2", {"--skip-invalid"});
  EXPECT_EQ(skipped.out, "at,running\n1,1\n2,0\n");
  EXPECT_EQ(skipped.code, kRejected);
}

}  // namespace
}  // namespace thermocline::cli
