// The load generator against real servers: ours, and those of the peers where they are installed.

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <fmt/format.h>

#include "tests/load/load_report.h"
#include "tests/load/load_run.h"
#include "tests/load/segment_load.h"
#include "tests/load/server_usage.h"
#include "tests/load/vias.h"
#include "tests/support/server_process.h"

namespace thermocline::load {
namespace {

using ::testing::HasSubstr;
using testing::ServerProcess;

LoadOptions SmallRun(const std::string& via, const std::string& workload, uint16_t port) {
  LoadOptions options;
  options.workload = *FindMix(workload);
  options.via = via;
  options.port = port;
  options.keys = 2'000;
  options.connections = 3;
  options.threads = 2;
  options.in_flight = 4;
  options.sync = false;
  options.warm_up = 0;
  options.operations = 3'000;
  return options;
}

// Loads the keys, runs, and finds nothing wrong.
void RunWell(const LoadOptions& options) {
  SCOPED_TRACE(DescribeRun(options));
  auto run = LoadRun::Connect(options);
  ASSERT_TRUE(run.ok()) << run.status();
  const auto watcher = [](const LoadResult&) {};
  if (!options.workload.mix.starts_empty) {
    const auto loaded = (*run)->Load(watcher);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const auto there = (*run)->IsLoaded();
    ASSERT_TRUE(there.ok()) << there.status();
    EXPECT_TRUE(*there);
  }
  LoadResult result;
  const absl::Status status = (*run)->Measure(watcher, result);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(result.errors, 0u) << result.first_fault;
  EXPECT_EQ(result.wrong, 0u) << result.first_fault;
  EXPECT_GE(result.operations, options.operations > 0 ? options.operations : 1);
  EXPECT_TRUE(result.server_cpu_seconds.has_value());
  EXPECT_GT(result.latencies.total(), 0u);
}

uint16_t PortOf(const ServerProcess& server) {
  return static_cast<uint16_t>(std::stoi(server.address().substr(server.address().rfind(':') + 1)));
}

class OurServerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto server = ServerProcess::Start({.flags = {"--memory", "64MiB"}, .data_directory = ""});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = server->release();
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }
  static ServerProcess* server_;
};

ServerProcess* OurServerTest::server_ = nullptr;

TEST_F(OurServerTest, EveryWayToIt) {
  for (const char* const via : {"client", "stub", "stream", "wire"}) {
    RunWell(SmallRun(via, "churn", PortOf(*server_)));
    LoadOptions batches = SmallRun(via, "mixed:50", PortOf(*server_));
    batches.batch = 16;
    RunWell(batches);
  }
}

TEST_F(OurServerTest, EveryWorkload) {
  for (const NamedMix& known : KnownMixes()) RunWell(SmallRun("wire", known.name, PortOf(*server_)));
}

TEST_F(OurServerTest, AFixedRateAndAFixedTime) {
  LoadOptions options = SmallRun("wire", "get", PortOf(*server_));
  options.operations = 0;
  options.seconds = 0.5;
  options.rate = 500;
  RunWell(options);
}

TEST_F(OurServerTest, SetsThatAreOnTheDisk) {
  LoadOptions options = SmallRun("wire", "set", PortOf(*server_));
  options.sync = true;
  options.operations = 200;
  RunWell(options);
}

TEST_F(OurServerTest, LargeValuesPassItsWindows) {
  for (const char* const via : {"client", "stub", "wire"}) {
    LoadOptions options = SmallRun(via, "mixed:50", PortOf(*server_));
    options.workload.mix.min_value_bytes = options.workload.mix.max_value_bytes = 300'000;
    options.keys = 20;
    options.operations = 100;
    RunWell(options);
  }
}

TEST_F(OurServerTest, ValuesThatSomebodyElseWroteAreWrong) {
  RunWell(SmallRun("wire", "get", PortOf(*server_)));
  LoadOptions others = SmallRun("wire", "get", PortOf(*server_));
  others.seed = 2;
  auto run = LoadRun::Connect(others);
  ASSERT_TRUE(run.ok());
  EXPECT_FALSE(*(*run)->IsLoaded());
  LoadResult result;
  ASSERT_TRUE((*run)->Measure([](const LoadResult&) {}, result).ok());
  EXPECT_EQ(result.wrong, 3'000u);
  EXPECT_THAT(result.first_fault, HasSubstr("none of its values"));
}

bool AllSeen(const std::map<std::string, uint64_t>& ids) {
  const auto seen = [](const auto& line) { return line.second > 0; };
  return ids.size() == 3 && std::ranges::all_of(ids, seen);
}

// Gets and sets with adds and queries beside them; all answers are right.
TEST(SegmentsBesideTest, AllAnswersAreRight) {
  const auto server = ServerProcess::Start({.flags = {"--memory", "256MiB"}, .data_directory = ""});
  ASSERT_TRUE(server.ok()) << server.status();
  LoadOptions options = SmallRun("wire", "mixed:50", PortOf(**server));
  options.rate = 2'000;
  options.segments = {.segments = 12, .ids = 20'000, .adds = 200, .queries = 2};
  auto segments = SegmentLoad::Connect(options);
  ASSERT_TRUE(segments.ok()) << segments.status();
  uint64_t sent = 0;
  const absl::Status loaded = (*segments)->Load([&](uint64_t ids) { sent = ids; });
  ASSERT_TRUE(loaded.ok()) << loaded;
  EXPECT_EQ(sent, 12u * 20'200u);
  auto run = LoadRun::Connect(options);
  ASSERT_TRUE(run.ok()) << run.status();
  const auto watcher = [](const LoadResult&) {};
  ASSERT_TRUE((*run)->Load(watcher).ok());
  std::map<std::string, uint64_t> calls;
  std::map<std::string, uint64_t> ids;
  // Twice, for it can be started again; more often where the machine is slow.
  for (int round = 0; round < 2 || (round < 30 && !AllSeen(ids)); ++round) {
    LoadResult result;
    ASSERT_TRUE((*run)->Measure(watcher, result, segments->get()).ok());
    EXPECT_EQ(result.operations, options.operations) << result.first_fault;
    for (const SegmentLine& line : result.segments) {
      calls[line.name] += line.latencies.total();
      ids[line.name] += line.ids;
      EXPECT_EQ(line.errors + line.wrong, 0u) << line.first_fault;
    }
  }
  EXPECT_TRUE(AllSeen(ids));
  EXPECT_EQ(ids["segment add"], 4 * calls["segment add"]);
}

// Segments that hold something else are found out.
TEST(SegmentsBesideTest, OtherIdsAreWrong) {
  const auto server = ServerProcess::Start({.flags = {"--memory", "256MiB"}, .data_directory = ""});
  ASSERT_TRUE(server.ok()) << server.status();
  LoadOptions options = SmallRun("wire", "get", PortOf(**server));
  options.segments = {.segments = 1, .ids = 20'000, .dense_percent = 0, .adds = 0, .queries = 1};
  auto others = SegmentLoad::Connect(options);
  ASSERT_TRUE(others.ok()) << others.status();
  ASSERT_TRUE((*others)->Load([](uint64_t) {}).ok());
  options.segments.dense_percent = 100;
  auto segments = SegmentLoad::Connect(options);
  ASSERT_TRUE(segments.ok()) << segments.status();
  uint64_t answers = 0;
  for (int round = 1; round < 50 && answers == 0; ++round) {
    (*segments)->Start();
    std::this_thread::sleep_for(std::chrono::milliseconds(50) * round);
    const SegmentResult result = (*segments)->Stop();
    ASSERT_EQ(result.size(), 2u);
    EXPECT_EQ(result[1].name, "segment query");
    answers = result[1].latencies.total();
    EXPECT_EQ(result[1].wrong, answers);
  }
  EXPECT_GT(answers, 0u);
}

// Calls that are under way when the server goes fail; those after it wait until it is back.
TEST(ServerThatGoesTest, TheLoadGoesOnWhenItIsBack) {
  for (const char* const via : {"wire", "stream", "client", "stub"}) {
    auto server = ServerProcess::Start({.flags = {"--memory", "64MiB"}, .data_directory = ""});
    ASSERT_TRUE(server.ok()) << server.status();
    LoadOptions options = SmallRun(via, "mixed:50", PortOf(**server));
    options.operations = 2'000;
    options.rate = 1'000;
    auto run = LoadRun::Connect(options);
    ASSERT_TRUE(run.ok()) << run.status();
    ASSERT_TRUE((*run)->Load([](const LoadResult&) {}).ok());
    LoadResult result;
    absl::Status status;
    std::thread other([&] { status = (*run)->Measure([](const LoadResult&) {}, result); });
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_EQ((*server)->Terminate(), 0);
    EXPECT_TRUE((*server)->Restart().ok());
    other.join();
    EXPECT_TRUE(status.ok()) << via << ": " << status;
    EXPECT_EQ(result.operations + result.errors, 2'000u) << via;
    EXPECT_GT(result.operations, 1'500u) << via << ": " << result.first_fault;
    EXPECT_EQ(result.wrong, 0u) << via << ": " << result.first_fault;
  }
}

TEST(NoServerTest, IsSaidAtOnce) {
  for (const char* const via : {"wire", "redis"}) {
    const auto run = LoadRun::Connect(SmallRun(via, "get", 1));
    EXPECT_EQ(run.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(run.status().message()), HasSubstr("no server on 127.0.0.1:1"));
  }
}

TEST(ServerUsageTest, FindsListenersAndWhatTheyTake) {
  EXPECT_EQ(FindListener(1), std::nullopt);
  EXPECT_EQ(UsageOf(0), std::nullopt);
  const auto own = UsageOf(getpid());
  ASSERT_TRUE(own.has_value());
  EXPECT_GT(own->resident_bytes, 1u << 20);
}

// A peer's server, if there is one on this machine.
class Peer {
 public:
  // "{port}" in the arguments is the port. Ends with this.
  Peer(const std::string& binary, std::vector<std::string> arguments) {
    for (const char* const directory : {"/usr/bin/", "/usr/local/bin/", "/usr/sbin/"}) {
      if (access((directory + binary).c_str(), X_OK) == 0) path_ = directory + binary;
    }
    if (path_.empty()) return;
    port_ = static_cast<uint16_t>(20'000 + getpid() % 10'000);
    while (FindListener(port_)) ++port_;
    std::vector<char*> argv = {path_.data()};
    for (std::string& argument : arguments) {
      if (argument == "{port}") argument = std::to_string(port_);
      argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int nothing = open("/dev/null", O_RDWR);
    dup2(nothing, STDOUT_FILENO);
    dup2(nothing, STDERR_FILENO);
    execv(path_.c_str(), argv.data());
    _exit(127);
  }
  ~Peer() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  bool is_installed() const { return !path_.empty(); }
  uint16_t port() const { return port_; }
  bool AwaitListening() const {
    for (int i = 0; i < 2'000 && FindListener(port_) != pid_; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return FindListener(port_) == pid_;
  }

 private:
  std::string path_;
  uint16_t port_ = 0;
  pid_t pid_ = -1;
};

void RunPeer(const std::string& via, uint16_t port) {
  for (const char* const workload : {"churn", "ycsb-d", "ycsb-e", "ycsb-f"})
    RunWell(SmallRun(via, workload, port));
  LoadOptions batches = SmallRun(via, "mixed:50", port);
  batches.batch = 16;
  RunWell(batches);
}

TEST(PeersTest, Redis) {
  const Peer redis("redis-server",
                   {"--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"});
  if (!redis.is_installed()) GTEST_SKIP() << "no redis-server here";
  ASSERT_TRUE(redis.AwaitListening());
  RunPeer("redis", redis.port());
  RunWell(SmallRun("redis", "blocks", redis.port()));
}

TEST(PeersTest, Memcached) {
  const Peer memcached("memcached", {"-u", "nobody", "-l", "127.0.0.1", "-p", "{port}"});
  if (!memcached.is_installed()) GTEST_SKIP() << "no memcached here";
  ASSERT_TRUE(memcached.AwaitListening());
  RunPeer("memcached", memcached.port());
  EXPECT_EQ(LoadRun::Connect(SmallRun("memcached", "blocks", memcached.port())).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace thermocline::load
