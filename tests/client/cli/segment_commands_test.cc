// The segment commands against the real server.

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "client/cli/run.h"
#include "tests/client/cli/input.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace thermocline::cli {
namespace {

using ::testing::HasSubstr;
using thermocline::testing::ServerProcess;

struct Outcome {
  ExitCode code;
  std::string out;
  std::string err;
};

class SegmentCommandsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = ServerProcess::Start({.flags = {"--memory", "256MiB"}, .data_directory = ""});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  Outcome Cli(std::vector<std::string> arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), {"--server", server_->address()});
    Input in(input);
    std::ostringstream out;
    std::ostringstream err;
    Io io{.in = in.descriptor(), .out = out, .err = err};
    const ExitCode code = cli::Run(arguments, io);
    return {code, out.str(), err.str()};
  }

  std::string File(const std::string& name, const std::string& text) {
    std::string path = directory_.path() + "/" + name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  thermocline::testing::TempDirectory directory_;
  std::unique_ptr<ServerProcess> server_;
};

TEST_F(SegmentCommandsTest, AFirstSession) {
  EXPECT_EQ(Cli({"segment", "add", "city:ny", "3", "1", "2"}).code, kOk);
  EXPECT_EQ(Cli({"segment", "load", "bought:2025", File("b.csv", "user_id,x\n2,a\n3,b\n40,c\n"), "--field",
                 "user_id"})
                .code,
            kOk);
  EXPECT_EQ(Cli({"segment", "query", "city:ny & bought:2025"}).out, "2\n3\n");
  EXPECT_EQ(Cli({"segment", "query", "city:ny & bought:2025", "--json"}).out, "{\"id\":2}\n{\"id\":3}\n");
  EXPECT_EQ(Cli({"segment", "count", "city:ny | bought:*"}).out, "4\n");
  EXPECT_EQ(Cli({"set", "user:2", "Ada"}).code, kOk);
  EXPECT_EQ(Cli({"segment", "values", "city:ny & bought:2025", "--key", "user:{id}"}).out,
            "2\tAda\n3\t(not found)\n");
  EXPECT_EQ(Cli({"segment", "values", "bought:2025", "--key", "user:{id}", "--only-found"}).out, "2\tAda\n");
  EXPECT_EQ(Cli({"segment", "store", "lost", "bought:2025 - city:ny"}).code, kOk);
  EXPECT_EQ(Cli({"segment", "query", "lost"}).out, "40\n");
  EXPECT_THAT(Cli({"segment", "list"}).out, HasSubstr("\ncity:ny "));
  EXPECT_THAT(Cli({"segment", "describe", "lost"}).out, HasSubstr("lost\n  ids             1\n"));
  EXPECT_THAT(Cli({"segment", "explain", "city:ny & bought:2025", "--execute"}).out,
              HasSubstr("intersection"));
  EXPECT_EQ(Cli({"segment", "drop", "lost"}).code, kOk);
  EXPECT_EQ(Cli({"segment", "drop", "lost"}).code, kNo);
}

TEST_F(SegmentCommandsTest, WhatComesOutGoesInAgain) {
  std::string lines;
  for (uint64_t id = 0; id < 100'000; ++id) lines += std::to_string(id * id) + "\n";
  EXPECT_EQ(Cli({"segment", "load", "s", "-"}, lines).code, kOk);
  EXPECT_TRUE(Cli({"segment", "query", "s"}).out == lines);
  const std::string json = Cli({"segment", "query", "s", "--json"}).out;
  EXPECT_EQ(Cli({"segment", "load", "t", "-", "--format", "ndjson"}, json).code, kOk);
  EXPECT_EQ(Cli({"segment", "count", "(s - t) | (t - s)"}).out, "0\n");
  EXPECT_EQ(Cli({"segment", "remove", "t", "--from", "-"}, lines).code, kOk);
  EXPECT_EQ(Cli({"segment", "count", "t"}).out, "0\n");
}

TEST_F(SegmentCommandsTest, StopsWithoutAChange) {
  EXPECT_EQ(Cli({"segment", "add", "s", "1"}).code, kOk);
  EXPECT_EQ(Cli({"segment", "load", "s", "-", "--on-error", "stop"}, "5\nx\n").code, kRejected);
  EXPECT_EQ(Cli({"segment", "query", "s"}).out, "1\n");
}

TEST_F(SegmentCommandsTest, ShowsWhereAnExpressionIsWrong) {
  const Outcome outcome = Cli({"segment", "query", "a & (b"});
  EXPECT_EQ(outcome.code, kUsage);
  const size_t expression = outcome.err.find("a & (b\n");
  const size_t caret = outcome.err.find('^');
  ASSERT_NE(expression, std::string::npos) << outcome.err;
  ASSERT_NE(caret, std::string::npos) << outcome.err;
  const auto column = [&](size_t at) { return at - outcome.err.rfind('\n', at); };
  EXPECT_EQ(column(caret), column(expression) + 4) << outcome.err;
  EXPECT_EQ(Cli({"segment", "query", "missing"}).code, kNo);
}

}  // namespace
}  // namespace thermocline::cli
