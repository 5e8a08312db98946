#include "tests/support/s3_server.h"

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace thermocline::testing {
namespace {

constexpr int kNotInstalled = 77;

struct Outcome {
  int exit_code = 0;
  std::string output;
};

Outcome RunScript(const std::string& arguments) {
  std::FILE* const pipe =
      popen(fmt::format("{} {} 2>&1", THERMOCLINE_S3_SERVER_SCRIPT, arguments).c_str(), "re");
  if (pipe == nullptr) return {-1, "popen failed"};
  Outcome outcome;
  std::array<char, 4096> piece;
  while (const size_t size = std::fread(piece.data(), 1, piece.size(), pipe))
    outcome.output.append(piece.data(), size);
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  while (!outcome.output.empty() && outcome.output.back() == '\n') outcome.output.pop_back();
  return outcome;
}

// A process that outlives this one by as long as it takes to end the server.
int StartGuard(const std::string& directory) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  const pid_t child = fork();
  if (child == 0) {
    setsid();
    dup2(ends[0], STDIN_FILENO);
    const int null = open("/dev/null", O_WRONLY);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    execl(THERMOCLINE_S3_SERVER_SCRIPT, THERMOCLINE_S3_SERVER_SCRIPT, "guard", directory.c_str(), nullptr);
    _exit(127);
  }
  close(ends[0]);
  return ends[1];
}

}  // namespace

class S3ServerEnvironment : public ::testing::Environment {
 public:
  explicit S3ServerEnvironment(S3Server& server) : server_(server) {}

  void SetUp() override {
    char directory[] = "/tmp/s3-XXXXXX";
    ASSERT_NE(mkdtemp(directory), nullptr);
    server_.directory_ = directory;
    server_.guard_ = StartGuard(server_.directory_);
    const Outcome started = RunScript("start " + server_.directory_);
    if (started.exit_code == kNotInstalled) GTEST_SKIP() << started.output;
    ASSERT_EQ(started.exit_code, 0) << "the S3 server does not start: " << started.output;
    server_.endpoint_ = started.output;
  }

  void TearDown() override {
    if (server_.guard_ < 0) return;
    RunScript("stop " + server_.directory_);
    close(server_.guard_);
  }

 private:
  S3Server& server_;
};

storage::S3Options S3Server::options() const {
  storage::S3Options options;
  options.endpoint = endpoint_;
  options.region = "us-east-1";
  options.credentials = storage::S3Credentials{"AKIDTEST", "secretsecretsecret", ""};
  options.retry_wait = std::chrono::milliseconds(1000);
  return options;
}

void S3Server::Kill() { RunScript("kill " + directory_); }

void S3Server::Restart() {
  const Outcome outcome = RunScript("restart " + directory_);
  if (outcome.exit_code != 0) throw std::runtime_error("the S3 server does not come back: " + outcome.output);
}

S3Server* UseS3Server() {
  static auto& server = *new S3Server;
  static const auto* const environment = ::testing::AddGlobalTestEnvironment(new S3ServerEnvironment(server));
  static_cast<void>(environment);
  return &server;
}

std::string FreshBucket() {
  static std::atomic<int> buckets = 0;
  return fmt::format("bucket-{}", ++buckets);
}

}  // namespace thermocline::testing
