// How queries fail, stop and are refused, by real databases of either kind.

#include <chrono>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "fmt/format.h"
#include <netinet/in.h>

#include "storage/id_source.h"
#include "tests/storage/source/source_fixture.h"

namespace thermocline::storage {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class SourceFailuresTest : public SourceTest {
 protected:
  // Never sends a row, until it is stopped.
  std::string Sleep() const { return Sql("select pg_sleep(600)", "select sleep(600)"); }

  // How many statements the server runs that have `text` in them, but for the one that asks.
  std::string Running(const std::string& text) {
    return *All(fmt::format(
        "{} like '%{}%' and {}",
        Sql("select count(*) from pg_stat_activity where state = 'active' and query",
            "select count(*) from information_schema.processlist where command = 'Query' and info"),
        text, Sql("pid <> pg_backend_pid()", "id <> connection_id()")))[0][0];
  }

  // Waits for what another process does.
  bool Becomes(const std::string& text, const std::string& count) {
    const auto deadline = steady_clock::now() + milliseconds(20'000);
    while (steady_clock::now() < deadline) {
      if (Running(text) == count) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }
};

INSTANTIATE_TEST_SUITE_P(Databases, SourceFailuresTest, ::testing::Values(Kind::kPostgres, Kind::kMariadb),
                         KindName);

TEST_P(SourceFailuresTest, TellsWhatIsWrongWithAStatement) {
  const absl::Status missing = End("select id from no_such_table");
  EXPECT_TRUE(absl::IsInvalidArgument(missing)) << missing;
  EXPECT_THAT(std::string(missing.message()),
              AllOf(HasSubstr("no_such_table"),
                    HasSubstr(fmt::format("{}://tester@127.0.0.1:", Sql("postgresql", "mysql"))),
                    Not(HasSubstr("s3cret"))));
  EXPECT_TRUE(absl::IsInvalidArgument(End("selec 1")));
  EXPECT_TRUE(absl::IsInvalidArgument(End("")));
  EXPECT_TRUE(absl::IsInvalidArgument(End("select 1; select 2"))) << "only one statement";
  EXPECT_TRUE(absl::IsInvalidArgument(End(Sql("select 1) to program 'true' --", "select 1)"))));
  EXPECT_TRUE(absl::IsInvalidArgument(End("commit"))) << "no columns";
}

TEST_P(SourceFailuresTest, WritesNothing) {
  for (const std::string& statement :
       {Sql("delete from pg_description returning 1", "delete from mysql.help_topic returning 1"),
        std::string("create table t (id int)")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(End(statement))) << statement;
  }
  EXPECT_NE(All(Sql("select count(*) from pg_description", "select count(*) from mysql.help_topic"))[0][0],
            "0");
  EXPECT_TRUE(absl::IsInvalidArgument(End("select 1 from t")));
}

TEST_P(SourceFailuresTest, FailsInTheMiddle) {
  const auto rows = Open(
      Sql("select 1 / (500000 - generate_series(1, 1000000))",
          "select exp(seq * 1.0 - 500000 + 709) * 0 + if(seq < 500000, 0, (select 1 union select 2)) from"
          " seq_1_to_1000000"));
  const absl::Status failed = End(*rows);
  EXPECT_TRUE(absl::IsInvalidArgument(failed)) << failed;
  EXPECT_THAT(std::string(failed.message()), HasSubstr(Sql("division by zero", "error ")));
  RowBatch batch;
  EXPECT_EQ(rows->Next(batch), failed) << "it stays";
  EXPECT_TRUE(batch.empty());
}

TEST_P(SourceFailuresTest, IsRefusedTheLogin) {
  SourceLocation location{.url = server_->Url("tester", "guessed"), .query = "select 1"};
  const absl::Status refused = End(location);
  EXPECT_TRUE(absl::IsPermissionDenied(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), Not(HasSubstr("guessed")));
  location.url = server_->Url("nobody", "");
  EXPECT_TRUE(absl::IsPermissionDenied(End(location))) << End(location);
}

TEST_P(SourceFailuresTest, CannotReachTheServer) {
  SourceLocation location{.url = Sql("postgresql", "mysql") + "://u@127.0.0.1:1/d", .query = "select 1"};
  EXPECT_TRUE(absl::IsUnavailable(End(location))) << End(location);
  location.url = Sql("postgresql", "mysql") + "://u:pw@no-such-host.invalid/d";
  const absl::Status unknown = End(location);
  EXPECT_TRUE(absl::IsUnavailable(unknown)) << unknown;
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("u@no-such-host.invalid"));
}

// A server that takes connections and never says a word.
class SilentServer {
 public:
  SilentServer() : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    listen(socket_, 16);
    socklen_t size = sizeof address;
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  ~SilentServer() { close(socket_); }
  int port() const { return port_; }

 private:
  int socket_;
  int port_ = 0;
};

TEST_P(SourceFailuresTest, DoesNotWaitForASilentServer) {
  const SilentServer silent;
  SourceLocation location{
      .url = fmt::format("{}://u:p@127.0.0.1:{}/d", Sql("postgresql", "mysql"), silent.port()),
      .query = "select 1",
      .connect_timeout = milliseconds(50)};
  EXPECT_TRUE(absl::IsDeadlineExceeded(End(location))) << End(location);

  location.connect_timeout = milliseconds(600'000);
  const auto rows = Open(location);
  std::thread other([&] { rows->Cancel(); });
  EXPECT_TRUE(absl::IsCancelled(End(*rows)));
  other.join();
}

TEST_P(SourceFailuresTest, StopsAStatementThatIsSilentForTooLong) {
  SourceLocation location = Location(Sleep() + " /* silent */");
  location.idle_timeout = milliseconds(100);
  const absl::Status late = End(location);
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
  EXPECT_TRUE(Becomes("/* silent */", "0")) << "the database works on";
}

TEST_P(SourceFailuresTest, IsCancelledWhileItWaits) {
  const auto rows = Open(Sleep() + " /* waits */");
  absl::Status end;
  std::thread reader([&] { end = End(*rows); });
  EXPECT_TRUE(Becomes("/* waits */", "1"));
  const auto begin = steady_clock::now();
  rows->Cancel();
  reader.join();
  EXPECT_TRUE(absl::IsCancelled(end)) << end;
  EXPECT_LT(steady_clock::now() - begin, milliseconds(10'000));
  EXPECT_TRUE(Becomes("/* waits */", "0")) << "the database works on";
}

TEST_P(SourceFailuresTest, StopsInTheMiddle) {
  const std::string numbers = Numbers(1'000'000'000);
  const auto cancelled = Open(numbers + " /* cancelled */");
  RowBatch batch;
  ASSERT_TRUE(cancelled->Next(batch).ok());
  ASSERT_FALSE(batch.empty());
  cancelled->Cancel();
  EXPECT_TRUE(absl::IsCancelled(cancelled->Next(batch)));
  EXPECT_TRUE(Becomes("/* cancelled */", "0"));

  auto left = Open(numbers + " /* left */");
  ASSERT_TRUE(left->Next(batch).ok());
  left.reset();
  EXPECT_TRUE(Becomes("/* left */", "0"));
}

TEST_P(SourceFailuresTest, LosesTheServerInTheMiddle) {
  const auto rows = Open(Numbers(1'000'000'000));
  RowBatch batch;
  ASSERT_TRUE(rows->Next(batch).ok());
  server_->Kill();
  const absl::Status lost = End(*rows);
  EXPECT_TRUE(absl::IsUnavailable(lost)) << lost;
  ASSERT_TRUE(server_->Restart().ok());
  EXPECT_EQ(All("select 1").size(), 1U);
}

TEST_P(SourceFailuresTest, TellsWhichRowIsNoId) {
  const auto failure = [&](const std::string& query) {
    const auto ids = MakeIdSource(Open(query));
    for (;;) {
      const auto some = ids->Next();
      if (!some.ok()) return some.status();
      if (some->empty()) return absl::OkStatus();
    }
  };
  const absl::Status negative = failure("select 1 as n union all select -5");
  EXPECT_TRUE(absl::IsInvalidArgument(negative));
  EXPECT_THAT(std::string(negative.message()), AllOf(HasSubstr("row 2"), HasSubstr("\"-5\" is not an id")));
  EXPECT_THAT(std::string(failure("select null").message()), HasSubstr("row 1: NULL is not an id"));
  EXPECT_THAT(std::string(failure("select 18446744073709551616").message()), HasSubstr("is not an id"));
  EXPECT_TRUE(failure("select 18446744073709551615").ok());
  EXPECT_THAT(std::string(failure("select 1, 2").message()), HasSubstr("2 columns"));
  EXPECT_TRUE(failure("select 'x', 2 as id").ok());
}

}  // namespace
}  // namespace thermocline::storage
