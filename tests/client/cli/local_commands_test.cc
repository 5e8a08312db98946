// The commands that need no server, as a shell runs them.

#include <array>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/timeline_picture.h"
#include "tests/support/temp_directory.h"

namespace thermocline::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

std::string Contents(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
  int64_t peak_bytes = 0;
};

class LocalCommandsTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return directory_.Path(name); }
  void Write(const std::string& name, std::string_view text) {
    std::ofstream(Path(name), std::ios::binary) << text;
  }

  // Starts the program in the directory of the test; `input` is its standard input.
  pid_t Start(std::vector<std::string> arguments, int input) {
    arguments.insert(arguments.begin(), THERMOCLINE_BINARY);
    std::vector<char*> words;
    for (std::string& word : arguments) words.push_back(word.data());
    words.push_back(nullptr);
    const pid_t child = fork();
    if (child != 0) return child;
    const int out = open(outputs_.Path("out").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err = open(outputs_.Path("err").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (chdir(directory_.path().c_str()) != 0 || dup2(input, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
      _exit(99);
    setenv("TMPDIR", directory_.path().c_str(), 1);
    execv(words[0], words.data());
    _exit(99);
  }

  Outcome Await(pid_t child) {
    int status = 0;
    rusage usage{};
    wait4(child, &status, 0, &usage);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Contents(outputs_.Path("out")),
            Contents(outputs_.Path("err")), usage.ru_maxrss * int64_t{1024}};
  }

  Outcome Run(const std::vector<std::string>& arguments, const std::string& input = "/dev/null") {
    const int descriptor = open(input.c_str(), O_RDONLY | O_CLOEXEC);
    const Outcome outcome = Await(Start(arguments, descriptor));
    close(descriptor);
    return outcome;
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_.path()))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  testing::TempDirectory directory_;
  testing::TempDirectory outputs_;
};

TEST_F(LocalCommandsTest, SortsAFileInPlace) {
  Write("a.csv", "n,name\n2,b\n10,a\n1,c\n");
  const Outcome outcome = Run({"sort", "a.csv", "a.csv", "--key", "n"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, StartsWith("3 records sorted in "));
  EXPECT_EQ(Contents(Path("a.csv")), "n,name\n1,c\n2,b\n10,a\n");
  EXPECT_THAT(Files(), ElementsAre("a.csv"));
}

TEST_F(LocalCommandsTest, SortsStandardStreams) {
  Write("in", "{\"k\":2}\n{\"k\":{\"x\":1}}\n{\"k\":1}\n{\"k\":2}\nnonsense\n");
  const Outcome outcome = Run({"sort", "-", "-", "--format", "ndjson", "--key", "k", "--key", "k.x",
                               "--descending", "--unique", "--skip-invalid"},
                              Path("in"));
  EXPECT_EQ(outcome.code, 4);
  EXPECT_EQ(outcome.out, "{\"k\":{\"x\":1}}\n{\"k\":2}\n{\"k\":1}\n");
  EXPECT_THAT(outcome.err, HasSubstr("line 5: is not JSON"));
  EXPECT_THAT(outcome.err, HasSubstr("1 duplicates left out, 1 invalid left out"));
}

TEST_F(LocalCommandsTest, SaysWhatIsWrongAndLeavesNothing) {
  Write("a.ndjson", "{\"k\":1}\n{\"k\"\n");
  Write("out", "old");
  const auto error = [&](const std::vector<std::string>& arguments) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.code, 2);
    return outcome.err;
  };
  EXPECT_THAT(error({"sort", "a.ndjson", "out", "--key", "k"}),
              StartsWith("thermocline: line 2: is not JSON"));
  EXPECT_THAT(error({"sort", "none", "out"}), HasSubstr("cannot open none"));
  EXPECT_THAT(error({"sort", ".", "out"}), HasSubstr("is a directory"));
  EXPECT_THAT(error({"sort", "out", "b", "--key", "k"}), HasSubstr("lines have no fields"));
  EXPECT_THAT(error({"sort", "a.ndjson", "b", "--memory", "1MiB"}), HasSubstr("48MiB"));
  EXPECT_THAT(error({"sort", "a.ndjson", "b", "--memory", "lots"}), HasSubstr("not a size"));
  EXPECT_THAT(error({"sort", "a.ndjson", "nowhere/b"}), HasSubstr("nowhere"));
  EXPECT_THAT(error({"timeline", "out"}), HasSubstr("need fields"));
  EXPECT_THAT(error({"timeline", "a.ndjson", "--every", "0"}), HasSubstr("--every"));
  EXPECT_EQ(Contents(Path("out")), "old");
  EXPECT_THAT(Files(), ElementsAre("a.ndjson", "out"));
}

// 110 MB through 64 MiB.
TEST_F(LocalCommandsTest, KeepsToItsMemory) {
  {
    std::ofstream stream(Path("in.ndjson"), std::ios::binary);
    const std::string filling(200, 'x');
    for (uint32_t i = 0; i < 480'000; ++i)
      stream << fmt::format("{{\"k\":{},\"filling\":\"{}\"}}\n", i * 2654435761U, filling);
  }
  const Outcome outcome = Run({"sort", "in.ndjson", "out.ndjson", "--key", "k", "--memory", "64MiB"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("480 000 records sorted"));
  EXPECT_THAT(outcome.out, HasSubstr("through"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LE(outcome.peak_bytes, 64 << 20);
#endif
  EXPECT_EQ(fs::file_size(Path("out.ndjson")), fs::file_size(Path("in.ndjson")));
  EXPECT_THAT(Files(), ElementsAre("in.ndjson", "out.ndjson"));
}

TEST_F(LocalCommandsTest, CtrlCRemovesEverything) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const pid_t child = Start({"sort", "-", "out", "--memory", "48MiB"}, ends[0]);
  close(ends[0]);
  // More than fits in memory: when it has been taken there are runs, and more is waited for.
  const std::string line = std::string(999, 'x') + "\n";
  for (int i = 0; i < 30'000; ++i) ASSERT_EQ(write(ends[1], line.data(), line.size()), 1000);
  EXPECT_THAT(Files(), Not(IsEmpty()));
  kill(child, SIGINT);
  const Outcome outcome = Await(child);
  close(ends[1]);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("cancelled"));
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(LocalCommandsTest, ChartsIntervals) {
  Write("a.csv", "s,e\n2025-01-01,2025-01-03\n2025-01-02 12:00,\n2025-01-02,2025-01-02\n,2025-01-01\n");
  Outcome outcome =
      Run({"timeline", "a.csv", "--start", "s", "--end", "e", "--svg", "a.svg", "--title", "a < b"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out,
            "at,running\n2025-01-01T00:00:00Z,1\n2025-01-02T12:00:00Z,2\n2025-01-03T00:00:00Z,1\n");
  EXPECT_THAT(outcome.err,
              HasSubstr("3 intervals of 4 rows, 1 without an end, 1 empty, 1 rows not started\n"));
  EXPECT_THAT(Contents(Path("a.svg")), HasSubstr("a &lt; b"));
  outcome = Run({"timeline", "a.csv", "--start", "s", "--end", "e", "--every", "1d", "--output", "ndjson"});
  EXPECT_EQ(
      outcome.out,
      "{\"begin\":\"2025-01-01T00:00:00Z\",\"least\":1,\"most\":1,\"mean\":1,\"started\":1,\"ended\":0}\n"
      "{\"begin\":\"2025-01-02T00:00:00Z\",\"least\":1,\"most\":2,\"mean\":1.5,\"started\":2,\"ended\":1}\n"
      "{\"begin\":\"2025-01-03T00:00:00Z\",\"least\":1,\"most\":1,\"mean\":1,\"started\":0,\"ended\":1}\n");

  Write("b.ndjson", "{\"start_at\":100,\"end_at\":200}\n{\"start_at\":\"-infinity\",\"end_at\":150}\n");
  outcome = Run({"timeline", "b.ndjson"});
  EXPECT_EQ(outcome.out,
            "at,running\n-infinity,1\n1970-01-01T00:00:00.1Z,2\n1970-01-01T00:00:00.15Z,1\n"
            "1970-01-01T00:00:00.2Z,0\n");
  Write("c.ndjson", "{\"start_at\":100,\"end_at\":200}\n{\"start_at\":9,\"end_at\":8}\n");
  outcome = Run({"timeline", "c.ndjson"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("line 2: the interval ends before it starts"));
  outcome = Run({"timeline", "c.ndjson", "--skip-invalid"});
  EXPECT_EQ(outcome.code, 4);
  EXPECT_EQ(outcome.out, "at,running\n100,1\n200,0\n");
  EXPECT_THAT(Files(), ElementsAre("a.csv", "a.svg", "b.ndjson", "c.ndjson"));
}

TEST(TimelinePicture, LosesNoPeak) {
  TimelinePicture picture(0, 1'000'000'000, 0);
  for (int64_t at = 0; at < 1'000'000; ++at) picture.Add(at * 1000, at == 333'333 ? 5000 : at % 7);
  const std::string svg = picture.Render("peaks & \"more\"");
  EXPECT_THAT(svg, HasSubstr("5 000 at most"));
  EXPECT_THAT(svg, HasSubstr("peaks &amp; \"more\""));
  EXPECT_LT(svg.size(), 100'000);
  // The peak reaches the top of the paper.
  EXPECT_THAT(svg, HasSubstr("V60.0"));
}

TEST(TimelinePicture, HoldsAtTheEdges) {
  EXPECT_THAT(TimelinePicture(0, 0, 0).Render(""), HasSubstr("</svg>"));
  TimelinePicture whole(INT64_MIN + 1, INT64_MAX - 1, 3);
  whole.Add(INT64_MIN + 1, 4);
  whole.Add(INT64_MAX - 1, UINT64_MAX);
  EXPECT_THAT(whole.Render(""), HasSubstr("</svg>"));
  TimelinePicture moment(7, 7, 0);
  moment.Add(7, 1);
  EXPECT_THAT(moment.Render(""), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace thermocline::cli
