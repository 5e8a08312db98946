// The story that segments come from: three databases are asked in parallel, their answers are combined, and
// one object in S3 is the result; asked again, nobody is asked again. All servers are real. `./dev demo
// story` runs this with millions of rows, and shows what it prints.

#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <future>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "storage/row_source.h"
#include "storage/s3_client.h"
#include "tests/support/database_server.h"
#include "tests/support/s3_server.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace thermocline::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

S3Server* const kS3 = UseS3Server();

constexpr const char* kExpression =
    R"((source:lives_in("New York") & source:bought("2025")) - source:bought_since("2026"))";

uint64_t Rows() {
  const char* const rows = std::getenv("THERMOCLINE_STORY_ROWS");
  return rows == nullptr ? 60'000 : std::strtoull(rows, nullptr, 10);
}

// How a program has ended, and the most memory it had.
struct Ended {
  int code = -1;
  std::string output;
  uint64_t peak_bytes = 0;
  std::chrono::milliseconds took{0};
};

Ended RunProgram(const std::vector<std::string>& command) {
  const auto start = std::chrono::steady_clock::now();
  int ends[2];
  if (pipe(ends) != 0) return {};
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  close(ends[1]);
  Ended ended;
  char buffer[4096];
  for (ssize_t bytes = 0; (bytes = read(ends[0], buffer, sizeof buffer)) > 0;)
    ended.output.append(buffer, bytes);
  close(ends[0]);
  int status = 0;
  rusage usage = {};
  wait4(child, &status, 0, &usage);
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  ended.peak_bytes = static_cast<uint64_t>(usage.ru_maxrss) << 10;
  ended.took =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
  return ended;
}

uint64_t PeakBytes(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) << 10;
  }
  return 0;
}

// The tables of the story, by arithmetic that PostgreSQL and MariaDB do alike.
std::string People(const std::string& series) {
  return fmt::format(
      "create table people as select i as id, case when i * 48271 % 2147483647 % 8 = 0 then 'New York' else "
      "'elsewhere' end as city from {};",
      series);
}

std::string Orders(const std::string& table, int year, uint64_t factor, const std::string& series) {
  return fmt::format(
      "create table {} as select i * {} % 2147483647 % {} + 1 as user_id, {} as year, i as product from {};",
      table, factor, Rows(), year, series);
}

class StoryTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kFactor2025 = 69'621;
  static constexpr uint64_t kFactor2026 = 40'692;

  void SetUp() override {
    for (auto& [kind, server] : {std::pair{DatabaseServer::Kind::kPostgres, &people_},
                                 std::pair{DatabaseServer::Kind::kPostgres, &orders_},
                                 std::pair{DatabaseServer::Kind::kMariadb, &new_orders_}}) {
      auto started = DatabaseServer::Start(kind);
      if (absl::IsNotFound(started.status())) GTEST_SKIP() << started.status().message();
      ASSERT_TRUE(started.ok()) << started.status();
      *server = *std::move(started);
    }
  }

  static std::string Series(uint64_t rows) { return fmt::format("generate_series(1::bigint, {}) i", rows); }

  static void Postgres(const DatabaseServer& server, const std::string& sql) {
    const Ended ended = RunProgram({"psql", "-q", "-v", "ON_ERROR_STOP=1", server.Url(), "-c", sql});
    ASSERT_EQ(ended.code, 0) << ended.output;
  }

  void Fill() {
    Postgres(*people_, People(Series(Rows())));
    Postgres(*orders_, Orders("orders", 2025, kFactor2025, Series(2 * Rows())));
    const std::string url = new_orders_->Url();
    const std::string port =
        url.substr(url.find("127.0.0.1:") + 10, url.rfind('/') - url.find("127.0.0.1:") - 10);
    const std::string series =
        fmt::format("(select cast(seq as unsigned) as i from seq_1_to_{}) s", Rows() / 2);
    const Ended ended = RunProgram({"mariadb", "--no-defaults", "--protocol=tcp", "--host=127.0.0.1",
                                    "--port=" + port, std::string("--user=") + DatabaseServer::kUser,
                                    std::string("--password=") + DatabaseServer::kPassword, "mysql", "-e",
                                    Orders("orders", 2026, kFactor2026, series)});
    ASSERT_EQ(ended.code, 0) << ended.output;
    // The same, all in one place, for the answer that SQL gives.
    Postgres(*people_, Orders("orders_2025", 2025, kFactor2025, Series(2 * Rows())));
    Postgres(*people_, Orders("orders_2026", 2026, kFactor2026, Series(Rows() / 2)));
  }

  // Count and sum of the ids.
  std::pair<uint64_t, uint64_t> SqlAnswer() {
    storage::SourceLocation location;
    location.url = people_->Url();
    location.query =
        "select count(*), coalesce(sum(id), 0) from (select id from people where city = 'New York' intersect "
        "select "
        "user_id from orders_2025 except select user_id from orders_2026) answer";
    auto rows = storage::OpenRowSource(location);
    storage::RowBatch batch;
    EXPECT_TRUE((*rows)->Next(batch).ok());
    if (batch.rows() != 1) return {0, 0};
    return {std::stoull(std::string(*batch.at(0, 0))), std::stoull(std::string(*batch.at(0, 1)))};
  }

  std::string WriteSources() {
    const json sources = {
        {"lives_in", {{"url", people_->Url()}, {"query", "select id from people where city = $1"}}},
        {"bought", {{"url", orders_->Url()}, {"query", "select user_id from orders where year = $1::int"}}},
        {"bought_since",
         {{"url", new_orders_->Url()}, {"query", "select user_id from orders where year >= ?"}}}};
    const std::string path = directory_.Path("sources.json");
    std::ofstream(path) << sources.dump(2);
    return path;
  }

  Ended Cli(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), THERMOCLINE_CLI);
    arguments.insert(arguments.end(), {"--server", server_->address()});
    return RunProgram(arguments);
  }

  std::string Fetch(storage::S3Client& client, const std::string& key) {
    auto object = client.OpenObject(bucket_, key);
    EXPECT_TRUE(object.ok()) << object.status();
    if (!object.ok() || (*object)->size() == 0) return "";
    std::string bytes((*object)->size(), '\0');
    std::promise<absl::Status> read;
    (*object)->Read(0, bytes, [&](absl::Status status) { read.set_value(std::move(status)); });
    const absl::Status status = read.get_future().get();
    EXPECT_TRUE(status.ok()) << status;
    return bytes;
  }

  TempDirectory directory_;
  std::unique_ptr<DatabaseServer> people_;
  std::unique_ptr<DatabaseServer> orders_;
  std::unique_ptr<DatabaseServer> new_orders_;
  std::unique_ptr<ServerProcess> server_;
  std::string bucket_;
};

TEST_F(StoryTest, ThreeDatabasesBecomeOneObject) {
  ASSERT_NO_FATAL_FAILURE(Fill());
  const auto [count, sum] = SqlAnswer();
  ASSERT_GT(count, 0u);
  bucket_ = FreshBucket();
  const storage::S3Options s3 = kS3->options();
  auto client = storage::S3Client::Open(s3);
  ASSERT_TRUE(client.ok()) << client.status();
  ASSERT_TRUE((*client)->CreateBucket(bucket_).ok());
  auto started = ServerProcess::Start(
      {.flags = {"--memory", "256MiB", "--segment-memory", "96MiB", "--sources", WriteSources(),
                 "--segment-store", "s3://" + bucket_ + "/segments", "--export-to",
                 "s3://" + bucket_ + "/answers", "--s3-endpoint", kS3->endpoint(), "--s3-access-key",
                 s3.credentials->access_key, "--s3-secret-key", s3.credentials->secret}});
  ASSERT_TRUE(started.ok()) << started.status();
  server_ = *std::move(started);

  const std::string url = "s3://" + bucket_ + "/answers/coupons.txt";
  const Ended first = Cli({"segment", "export", kExpression, url});
  ASSERT_EQ(first.code, 0) << first.output << server_->Log();
  const std::string object = Fetch(**client, "answers/coupons.txt");
  uint64_t lines = 0;
  uint64_t total = 0;
  std::istringstream ids(object);
  for (uint64_t id = 0; ids >> id; ++lines) total += id;
  EXPECT_EQ(lines, count);
  EXPECT_EQ(total, sum);
  const json manifest = json::parse(Fetch(**client, "answers/coupons.txt.manifest.json"));
  EXPECT_EQ(manifest["count"], count);
  EXPECT_EQ(manifest["bytes"], object.size());

  // Nobody has to ask the databases again.
  people_->Kill();
  orders_->Kill();
  new_orders_->Kill();
  const Ended again = Cli({"segment", "export", kExpression, url, "--replace"});
  ASSERT_EQ(again.code, 0) << again.output;
  EXPECT_EQ(Fetch(**client, "answers/coupons.txt"), object);
  const Ended fresh = Cli({"segment", "count", kExpression, "--fresh"});
  EXPECT_NE(fresh.code, 0) << "a fresh answer needs the databases";
  EXPECT_THAT(fresh.output, HasSubstr("127.0.0.1"));

  const uint64_t peak = PeakBytes(server_->pid());
  EXPECT_LE(peak, uint64_t{(256 + 64) << 20});
  std::cout << fmt::format(
      "rows: {} people, {} orders of 2025, {} of 2026\nanswer: {} ids, as SQL says, {} bytes in one object\n"
      "first: {} ms from three databases; again: {} ms from the kept result\n"
      "peak memory: server {} MiB (--memory 256MiB), command line {} MiB\n",
      Rows(), 2 * Rows(), Rows() / 2, count, object.size(), first.took.count(), again.took.count(),
      peak >> 20, std::max(first.peak_bytes, again.peak_bytes) >> 20);
  EXPECT_EQ(server_->Terminate(), 0);
}

}  // namespace
}  // namespace thermocline::testing
