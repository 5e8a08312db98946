// The segment commands against the real server.

#include <filesystem>
#include <fstream>
#include <optional>
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
    auto server = ServerProcess::Start(
        {.flags = {"--memory", "256MiB", "--export-to", "file://" + directory_.path() + "/out"},
         .data_directory = ""});
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

  std::string Url(const std::string& name) const { return "file://" + directory_.path() + "/out/" + name; }

  // Nothing of a path: nullopt.
  std::optional<std::string> Exported(const std::string& name) const {
    std::ifstream file(directory_.path() + "/out/" + name, std::ios::binary);
    if (!file) return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  // What exports have left unfinished.
  size_t Drafts() const {
    size_t drafts = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path() + "/out/.unfinished"))
      drafts += entry.path().extension() != ".lock";
    return drafts;
  }

  // `count` ids, as a file of lines; squares take long to write out, and nobody knows them beforehand.
  std::string Squares(uint64_t count) {
    std::string lines;
    for (uint64_t id = 0; id < count; ++id) lines += std::to_string(id * id) + "\n";
    return lines;
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

TEST_F(SegmentCommandsTest, ExportsAndShowsJobs) {
  const std::string lines = Squares(100'000);
  EXPECT_EQ(Cli({"segment", "load", "s", "-"}, lines).code, kOk);
  const Outcome exported = Cli({"segment", "export", "s", Url("a/s.txt")});
  EXPECT_EQ(exported.code, kOk) << exported.err;
  EXPECT_THAT(exported.out, HasSubstr("s.txt: 100 000 ids, "));
  EXPECT_TRUE(Exported("a/s.txt") == lines);
  const auto manifest = nlohmann::json::parse(Exported("a/s.txt.manifest.json").value_or("null"));
  EXPECT_EQ(manifest["count"], 100'000);
  EXPECT_THAT(exported.out, HasSubstr("SHA-256 " + manifest["sha256"].get<std::string>()));

  const Outcome again = Cli({"segment", "export", "s", Url("a/s.txt")});
  EXPECT_EQ(again.code, kServer);
  EXPECT_THAT(again.err, HasSubstr("is there already"));
  EXPECT_EQ(Cli({"segment", "export", "s", Url("a/s.txt"), "--replace", "--format", "packed"}).code, kOk);
  EXPECT_EQ(Exported("a/s.txt")->size(), 800'000u);
  EXPECT_EQ(Cli({"segment", "export", "s", "file:///etc/x"}).code, kServer);
  EXPECT_EQ(Cli({"segment", "export", "s &", Url("b")}).code, kUsage);
  EXPECT_EQ(Cli({"segment", "export", "t", Url("b")}).code, kNo);

  const Outcome detached = Cli({"segment", "export", "s", Url("c"), "--detach"});
  EXPECT_EQ(detached.code, kOk);
  const std::string id = detached.out.substr(0, detached.out.find('\n'));
  const Outcome watched = Cli({"jobs", "watch", id, "--json"});
  EXPECT_EQ(watched.code, kOk);
  const size_t last = watched.out.rfind('\n', watched.out.size() - 2);
  const auto job = nlohmann::json::parse(watched.out.substr(last == std::string::npos ? 0 : last + 1));
  EXPECT_EQ(job["id"], id);
  EXPECT_EQ(job["stage"], "done");
  EXPECT_EQ(job["ids"], 100'000);
  EXPECT_TRUE(Exported("c") == lines);
  EXPECT_THAT(Cli({"jobs", "list"}).out, HasSubstr(id + "  done"));
  EXPECT_EQ(Cli({"jobs", "list", "--unfinished", "--json"}).out, "");
  EXPECT_EQ(Cli({"jobs", "cancel", id}).code, kNo);
  EXPECT_EQ(Cli({"jobs", "cancel", "nonsense"}).code, kNo);
  EXPECT_EQ(Cli({"jobs"}).code, kUsage);
}

// A job lives as long as its server, and no longer; what it has not finished is not there.
TEST_F(SegmentCommandsTest, JobsOutliveTheirClientsButNotTheServer) {
  const std::string lines = Squares(2'000'000);
  EXPECT_EQ(Cli({"segment", "load", "s", "-"}, lines).code, kOk);
  std::vector<std::string> ids;
  for (int i = 0; i < 30; ++i) {
    // Each of these clients is gone when its command has returned.
    const Outcome started = Cli({"segment", "export", "s", Url(std::to_string(i)), "--detach"});
    ASSERT_EQ(started.code, kOk) << started.err;
    ids.push_back(started.out.substr(0, started.out.find('\n')));
  }
  EXPECT_EQ(Cli({"jobs", "watch", ids[0]}).code, kOk);
  EXPECT_TRUE(Exported("0") == lines);
  // Cancelled while it waits or runs; or it was faster.
  const bool cancelled = Cli({"jobs", "cancel", ids.back()}).code == kOk;
  EXPECT_EQ(Exported("29").has_value(), !cancelled);
  EXPECT_EQ(server_->Terminate(), 0);
  EXPECT_EQ(Drafts(), 0u);
  for (int i = 0; i < 30; ++i) {
    const auto bytes = Exported(std::to_string(i));
    EXPECT_TRUE(!bytes.has_value() || *bytes == lines) << i;
  }
  ASSERT_TRUE(server_->Restart().ok());
  EXPECT_EQ(Cli({"jobs", "list", "--json"}).out, "");
  EXPECT_EQ(Cli({"jobs", "watch", ids[0]}).code, kNo);

  // Killed, it leaves drafts that the next start removes.
  for (int i = 30; i < 40; ++i)
    ASSERT_EQ(Cli({"segment", "export", "s", Url(std::to_string(i)), "--detach"}).code, kOk);
  server_->Kill();
  ASSERT_TRUE(server_->Restart().ok());
  EXPECT_EQ(Drafts(), 0u);
  for (int i = 30; i < 40; ++i) {
    const auto bytes = Exported(std::to_string(i));
    EXPECT_TRUE(!bytes.has_value() || *bytes == lines) << i;
    EXPECT_TRUE(!Exported(std::to_string(i) + ".manifest.json").has_value() || bytes.has_value()) << i;
  }
}

TEST_F(SegmentCommandsTest, TimelinesOfValues) {
  EXPECT_EQ(Cli({"segment", "add", "ny", "1", "2", "3", "4", "5", "6"}).code, kOk);
  EXPECT_EQ(Cli({"set", "s:1", R"({"from":"2025-07-01T12:00:00Z","to":"2025-07-01T13:30:00Z"})"}).code, kOk);
  EXPECT_EQ(Cli({"set", "s:2", R"({"from":"2025-07-01T13:00:00Z"})"}).code, kOk);
  EXPECT_EQ(Cli({"set", "s:3", R"({"from":"2025-07-01T13:00:00Z","to":"2025-07-01T13:00:00Z"})"}).code, kOk);
  EXPECT_EQ(Cli({"set", "s:4", R"({"to":"2025-07-01T13:00:00Z"})"}).code, kOk);
  const std::vector<std::string> ask = {"segment", "timeline", "ny",    "--key", "s:{id}",
                                        "--start", "from",     "--end", "to"};
  const auto with = [&ask](std::vector<std::string> more) {
    more.insert(more.begin(), ask.begin(), ask.end());
    return more;
  };
  const Outcome changes = Cli(ask);
  EXPECT_EQ(changes.out,
            "at,running\n2025-07-01T12:00:00Z,1\n2025-07-01T13:00:00Z,2\n2025-07-01T13:30:00Z,1\n");
  EXPECT_THAT(changes.err, HasSubstr("3 intervals of 4 values, 1 without an end, 1 empty, 1 not started, "
                                     "2 ids without a value\n"));
  EXPECT_EQ(changes.code, kOk);

  const std::string picture = directory_.path() + "/ny.svg";
  EXPECT_EQ(Cli(with({"--every", "1h", "--svg", picture})).out,
            "begin,least,most,mean,started,ended\n"
            "2025-07-01T12:00:00Z,1,1,1,1,0\n2025-07-01T13:00:00Z,1,2,1.5,2,2\n");
  std::ifstream drawn(picture);
  EXPECT_THAT(std::string(std::istreambuf_iterator<char>(drawn), {}), HasSubstr("</svg>"));

  EXPECT_EQ(Cli({"set", "s:5", R"({"from":"2025-07-01T13:00:00Z","to":"2025-07-01T12:00:00Z"})"}).code, kOk);
  EXPECT_EQ(Cli({"set", "s:6", R"({"from":"-infinity","to":"2025-07-01T12:00:00Z"})"}).code, kOk);
  const Outcome lines = Cli(with({"--output", "ndjson"}));
  EXPECT_EQ(lines.out,
            "{\"at\":\"-infinity\",\"running\":1}\n"
            "{\"at\":\"2025-07-01T13:00:00Z\",\"running\":2}\n"
            "{\"at\":\"2025-07-01T13:30:00Z\",\"running\":1}\n");
  EXPECT_THAT(lines.err, HasSubstr("the value of id 5: the interval ends before it starts"));
  EXPECT_THAT(lines.err, HasSubstr("1 invalid left out, 1 of them inverted"));
  EXPECT_EQ(lines.code, kRejected);
  EXPECT_EQ(Cli(with({"--json"})).out, lines.out);

  EXPECT_EQ(Cli({"segment", "timeline", "none", "--key", "s:{id}"}).code,
            Cli({"segment", "query", "none"}).code);
  EXPECT_THAT(Cli({"segment", "timeline", "ny", "--key", "s:"}).err, HasSubstr("no {id}"));
}

// The command for files and the one for values say the same.
TEST_F(SegmentCommandsTest, TimelinesAreThoseOfFiles) {
  std::string rows;
  for (int id = 1; id <= 5000; ++id) {
    const int start = id * 7919 % 5000;
    rows += nlohmann::json{{"id", id}, {"start_at", start}, {"end_at", start + id % 100}}.dump() + "\n";
  }
  const std::string file = File("rows.ndjson", rows);
  EXPECT_EQ(Cli({"import", file, "--key", "s:{id}"}).code, kOk);
  EXPECT_EQ(Cli({"segment", "load", "all", file}).code, kOk);
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, {"--every", "1s"}, {"--output", "ndjson", "--unit", "s"}}) {
    std::vector<std::string> values = {"segment", "timeline", "all", "--key", "s:{id}"};
    std::vector<std::string> local = {"timeline", file};
    values.insert(values.end(), more.begin(), more.end());
    local.insert(local.end(), more.begin(), more.end());
    const Outcome of_values = Cli(values);
    EXPECT_EQ(of_values.code, kOk) << of_values.err;
    EXPECT_GT(of_values.out.size(), 100u);
    EXPECT_EQ(of_values.out, Cli(local).out);
  }
}

}  // namespace
}  // namespace thermocline::cli
