// Commands that read and write objects of S3, with real servers, as a shell runs them.

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <memory>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/s3_server.h"
#include "tests/support/server_process.h"
#include "tests/support/temp_directory.h"

namespace thermocline::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const auto* const kServer = testing::UseS3Server();

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
  int64_t peak_bytes = 0;
};

std::string Contents(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

class S3CommandsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto client = storage::S3Client::Open(kServer->options());
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    ASSERT_TRUE(client_->CreateBucket(bucket_).ok());
  }

  std::string Url(const std::string& key) const { return fmt::format("s3://{}/{}", bucket_, key); }

  void Put(const std::string& key, std::string_view text) {
    auto writer = client_->CreateObject(bucket_, key, true);
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE((*writer)->Append(text).ok());
    const absl::Status status = (*writer)->Finish();
    ASSERT_TRUE(status.ok()) << status;
  }

  std::string Get(const std::string& key) {
    auto object = client_->OpenObject(bucket_, key);
    if (!object.ok()) return object.status().ToString();
    std::string text((*object)->size(), 0);
    std::promise<absl::Status> read;
    (*object)->Read(0, text, [&read](absl::Status status) { read.set_value(std::move(status)); });
    const absl::Status status = read.get_future().get();
    return status.ok() ? text : status.ToString();
  }

  std::vector<std::string> Keys() {
    std::vector<std::string> keys;
    const absl::Status status = client_->List(bucket_, "", [&keys](storage::S3Client::Listed listed) {
      keys.push_back(listed.key);
      return true;
    });
    EXPECT_TRUE(status.ok()) << status;
    return keys;
  }

  // Runs the program in the directory of the test, with the store's credentials.
  Outcome Run(std::vector<std::string> arguments, const std::string& secret = "secretsecretsecret") {
    arguments.insert(arguments.begin(), THERMOCLINE_BINARY);
    std::vector<char*> words;
    for (std::string& word : arguments) words.push_back(word.data());
    words.push_back(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      const int in = open("/dev/null", O_RDONLY);
      const int out = open(outputs_.Path("out").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      const int err = open(outputs_.Path("err").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      if (chdir(directory_.path().c_str()) != 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(99);
      setenv("TMPDIR", directory_.path().c_str(), 1);
      setenv("AWS_ENDPOINT_URL", kServer->endpoint().c_str(), 1);
      setenv("AWS_ACCESS_KEY_ID", "AKIDTEST", 1);
      setenv("AWS_SECRET_ACCESS_KEY", secret.c_str(), 1);
      execv(words[0], words.data());
      _exit(99);
    }
    int status = 0;
    rusage usage{};
    wait4(child, &status, 0, &usage);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Contents(outputs_.Path("out")),
            Contents(outputs_.Path("err")), usage.ru_maxrss * int64_t{1024}};
  }

  const std::string bucket_ = testing::FreshBucket();
  std::unique_ptr<storage::S3Client> client_;
  testing::TempDirectory directory_;
  testing::TempDirectory outputs_;
};

// Records whose keys run the other way round, so many bytes about.
std::string Records(uint32_t bytes) {
  std::string text;
  const std::string filling(960, 'x');
  for (uint32_t i = 1'000'000; text.size() < bytes; --i)
    text += fmt::format("{{\"k\":{},\"filling\":\"{}\"}}\n", i, filling);
  return text;
}

// True if there are so many records, each with a larger key than the one before.
bool IsSorted(const std::string& text, size_t bytes) {
  std::string_view rest = text;
  uint64_t last = 0;
  while (!rest.empty()) {
    const uint64_t key = std::strtoull(rest.data() + 5, nullptr, 10);
    if (key <= last) return false;
    last = key;
    rest.remove_prefix(rest.find('\n') + 1);
  }
  return text.size() == bytes;
}

// The 72 MiB that --memory allows.
void CheckPeak([[maybe_unused]] const Outcome& outcome) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LE(outcome.peak_bytes, 72 << 20);
#endif
}

TEST_F(S3CommandsTest, SortsFromS3ToS3InLittleMemory) {
  const std::string records = Records(40 << 20);
  Put("in.ndjson", records);
  Outcome outcome = Run({"sort", Url("in.ndjson"), "--key", "k", Url("out.ndjson"), "--memory", "72MiB"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr(", through "));
  CheckPeak(outcome);
  EXPECT_TRUE(IsSorted(Get("out.ndjson"), records.size()));
  EXPECT_THAT(Keys(), ElementsAre("in.ndjson", "out.ndjson"));

  // Runs there as well; the output replaces the input.
  outcome = Run({"sort", Url("in.ndjson"), Url("in.ndjson"), "--key", "k", "--memory", "72MiB", "--temporary",
                 Url("scratch")});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr(", through "));
  CheckPeak(outcome);
  EXPECT_TRUE(IsSorted(Get("in.ndjson"), records.size()));
  EXPECT_THAT(Keys(), ElementsAre("in.ndjson", "out.ndjson")) << "runs and all that belongs to them are gone";
}

TEST_F(S3CommandsTest, SaysWhatIsWrongWithAnObject) {
  Put("in.ndjson", "{\"k\":1}\n");
  Put("wrong.ndjson", "{\"k\":1}\n{\"k\"\n");
  const auto error = [&](const std::vector<std::string>& arguments) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.code, 2);
    return outcome.err;
  };
  EXPECT_THAT(error({"sort", Url("none"), "out"}),
              AllOf(StartsWith("thermocline: " + Url("none")), HasSubstr("no such object")));
  EXPECT_THAT(error({"sort", "s3://no-such-bucket/x", "out"}), HasSubstr("s3://no-such-bucket/x"));
  EXPECT_THAT(error({"sort", "s3://bucket", "out"}), HasSubstr("write s3://bucket/key"));
  EXPECT_THAT(error({"sort", Url("in.ndjson"), "s3://no-such-bucket/x"}), HasSubstr("s3://no-such-bucket/x"));
  EXPECT_THAT(error({"sort", Url("in.ndjson"), "out", "--temporary", "s3://no-such-bucket/x"}),
              HasSubstr("cannot put runs into s3://no-such-bucket/x"));
  EXPECT_THAT(error({"sort", Url("wrong.ndjson"), Url("out"), "--key", "k"}),
              HasSubstr("line 2: is not JSON"));
  EXPECT_THAT(error({"sort", Url("in.ndjson"), "out", "--memory", "64MiB"}), HasSubstr("72MiB"));
  EXPECT_THAT(error({"sort", Url("in.ndjson"), "out", "--s3-endpoint", "nonsense"}), HasSubstr("nonsense"));
  EXPECT_THAT(error({"sort", Url("in.ndjson"), "out", "--s3-addressing", "x"}), HasSubstr("path"));
  const Outcome refused = Run({"sort", Url("in.ndjson"), "out"}, "wrongsecret");
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err,
              AllOf(HasSubstr(Url("in.ndjson")), HasSubstr("403"), Not(HasSubstr("wrongsecret"))));
  EXPECT_THAT(Keys(), ElementsAre("in.ndjson", "wrong.ndjson"));
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(S3CommandsTest, ChartsAnObject) {
  Put("jobs.csv", "s,e\n2025-01-01,2025-01-03\n2025-01-02,\n");
  const Outcome outcome = Run({"timeline", Url("jobs.csv"), "--start", "s", "--end", "e", "--memory", "80MiB",
                               "--svg", Url("jobs.svg"), "--temporary", Url("a/b/")});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out,
            "at,running\n2025-01-01T00:00:00Z,1\n2025-01-02T00:00:00Z,2\n2025-01-03T00:00:00Z,1\n");
  EXPECT_THAT(Get("jobs.svg"), HasSubstr("</svg>"));
  EXPECT_THAT(Keys(), ElementsAre("jobs.csv", "jobs.svg"));
}

TEST_F(S3CommandsTest, LoadsSegmentsImportsAndExports) {
  auto server = testing::ServerProcess::Start({.flags = {"--memory", "256MiB"}, .data_directory = ""});
  ASSERT_TRUE(server.ok()) << server.status();
  const auto run = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--server", (*server)->address()});
    return Run(arguments);
  };
  std::string ids;
  for (int id = 0; id < 300'000; ++id) ids += fmt::format("{}\n", id);
  Put("ids", ids);
  Put("more.ndjson", "{\"user\":1}\n{\"user\":1000000}\n");
  Put("nothing", "");
  Outcome outcome = run({"segment", "load", "s", Url("ids"), Url("nothing")});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  outcome = run({"segment", "add", "s", "--from", Url("more.ndjson"), "--field", "user"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(run({"segment", "count", "s"}).out, "300001\n");
  outcome = run({"segment", "remove", "s", "--from", Url("ids")});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(run({"segment", "query", "s"}).out, "1000000\n");
  outcome = run({"segment", "load", "s", Url("ids"), Url("none")});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr(Url("none")), HasSubstr("no such object")));
  // The first source stands still in the middle when the other one fails.
  outcome = run({"segment", "load", "s", Url("ids"), "--from", Url("more.ndjson"), "--field", "wrong",
                 "--on-error", "stop"});
  EXPECT_EQ(outcome.code, 4) << outcome.err;
  EXPECT_EQ(run({"segment", "query", "s"}).out, "1000000\n");

  outcome = run({"import", Url("more.ndjson"), "--key", "user"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  outcome = run({"export", "--output", Url("all.ndjson")});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(Get("all.ndjson"), AllOf(HasSubstr("\"1\""), HasSubstr("\"1000000\"")));
}

}  // namespace
}  // namespace thermocline::cli
