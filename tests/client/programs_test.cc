// The programs themselves, as a shell runs them.

#include <array>
#include <cstdio>
#include <string>
#include <sys/wait.h>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/support/server_process.h"

namespace thermocline {
namespace {

using ::testing::HasSubstr;
using testing::ServerProcess;

struct Outcome {
  int code = 0;
  std::string output;  // of both streams
};

Outcome Shell(const std::string& command) {
  Outcome outcome;
  std::FILE* pipe = popen(("( " + command + " ) 2>&1").c_str(), "r");
  if (pipe == nullptr) {
    ADD_FAILURE() << "cannot run " << command;
    return outcome;
  }
  std::array<char, 4096> buffer{};
  while (const size_t bytes = std::fread(buffer.data(), 1, buffer.size(), pipe))
    outcome.output.append(buffer.data(), bytes);
  const int status = pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

class ProgramsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = ServerProcess::Start({.flags = {"--memory", "32MiB"}, .data_directory = ""});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  std::unique_ptr<ServerProcess> server_;
};

TEST_F(ProgramsTest, TheExampleRuns) {
  const Outcome outcome = Shell(fmt::format("{} {}", THERMOCLINE_EXAMPLE_BINARY, server_->address()));
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("user:42 is {\"name\": \"Ada\"}\nchanged\n"));
  EXPECT_THAT(outcome.output, HasSubstr("user:43 = Grace\n"));
}

TEST_F(ProgramsTest, TheExampleSaysWhyItFails) {
  const Outcome outcome = Shell(fmt::format("{} 127.0.0.1:1", THERMOCLINE_EXAMPLE_BINARY));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("no Thermocline server answers at 127.0.0.1:1"));
}

TEST_F(ProgramsTest, TheCommandLineWorksInAShell) {
  const std::string cli = fmt::format("THERMOCLINE_SERVER={} {}", server_->address(), THERMOCLINE_BINARY);
  EXPECT_EQ(Shell(fmt::format("printf 'a\\0b' | {} set k -", cli)).code, 0);
  EXPECT_EQ(Shell(fmt::format("{} get k", cli)).output, std::string("a\0b", 3))
      << "no line break outside of terminals";
  EXPECT_EQ(Shell(fmt::format("{} get nope", cli)).code, 1);
  EXPECT_EQ(Shell(fmt::format("{} get", cli)).code, 2);
  EXPECT_EQ(Shell(fmt::format("{} --server 127.0.0.1:1 get k", cli)).code, 3);
  EXPECT_EQ(Shell(fmt::format("echo x | {} import - --format ndjson --key id", cli)).code, 4);
  EXPECT_EQ(Shell(fmt::format("{0} export | {0} import - --format export", cli)).code, 0);
  EXPECT_EQ(Shell(fmt::format("{} export > /dev/full", cli)).code, 2);
}

}  // namespace
}  // namespace thermocline
