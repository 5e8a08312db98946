#include "tests/load/load_flags.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermocline::load {
namespace {

using ::testing::HasSubstr;

std::variant<CommandLine, int> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "thermocline-load");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

CommandLine Parsed(std::vector<const char*> arguments) {
  return std::get<CommandLine>(Parse(std::move(arguments)));
}

TEST(LoadFlagsTest, WithoutArgumentsTheCanonicalWorkload) {
  const LoadOptions load = Parsed({}).load;
  EXPECT_EQ(load.workload.name, "mixed:95");
  EXPECT_EQ(load.via, "wire");
  EXPECT_EQ(load.host, "127.0.0.1");
  EXPECT_EQ(load.port, 7070);
  EXPECT_EQ(load.keys, 1'000'000u);
  EXPECT_EQ(load.workload.mix.min_value_bytes, 100u);
  EXPECT_TRUE(load.sync);
  EXPECT_TRUE(load.load);
  EXPECT_EQ(load.rate, 0);
}

TEST(LoadFlagsTest, TakesWhatItIsTold) {
  const CommandLine line = Parsed({"--workload",
                                   "ycsb-c",
                                   "--value-size",
                                   "2KiB",
                                   "--keys",
                                   "10k",
                                   "--distribution",
                                   "uniform",
                                   "--batch",
                                   "8",
                                   "--durability",
                                   "memory",
                                   "--no-load",
                                   "--via",
                                   "redis",
                                   "--server",
                                   "[::1]:99",
                                   "--connections",
                                   "3",
                                   "--threads",
                                   "9",
                                   "--in-flight",
                                   "7",
                                   "--rate",
                                   "2k",
                                   "--operations",
                                   "2M",
                                   "--json",
                                   "a",
                                   "--svg",
                                   "b"});
  EXPECT_EQ(line.load.workload.mix.max_value_bytes, 2048u);
  EXPECT_EQ(line.load.workload.mix.popularity, Popularity::kUniform);
  EXPECT_EQ(line.load.keys, 10'000u);
  EXPECT_EQ(line.load.batch, 8u);
  EXPECT_FALSE(line.load.sync);
  EXPECT_FALSE(line.load.load);
  EXPECT_EQ(line.load.host, "::1");
  EXPECT_EQ(line.load.port, 99);
  EXPECT_EQ(line.load.threads, 3u);
  EXPECT_EQ(line.load.rate, 2000);
  EXPECT_EQ(line.load.operations, 2'000'000u);
  EXPECT_EQ(line.load.warm_up, 0);
  EXPECT_EQ(line.json, "a");
  EXPECT_EQ(line.svg, "b");
}

TEST(LoadFlagsTest, EachProtocolHasItsPort) {
  EXPECT_EQ(Parsed({"--via", "redis"}).load.port, 6379);
  EXPECT_EQ(Parsed({"--via", "memcached"}).load.port, 11211);
  EXPECT_EQ(Parsed({"--via", "stream"}).load.port, 7070);
}

TEST(LoadFlagsTest, SegmentsBesideIt) {
  EXPECT_EQ(Parsed({}).load.segments.segments, 0u);
  const SegmentOptions usual = Parsed({"--segments", "100x1M"}).load.segments;
  EXPECT_EQ(usual.segments, 100u);
  EXPECT_EQ(usual.ids, 1'000'000u);
  EXPECT_EQ(usual.dense_percent, 50u);
  EXPECT_GT(usual.adds, 0);
  EXPECT_GT(usual.queries, 0u);
  EXPECT_FALSE(usual.contrast);
  const SegmentOptions told =
      Parsed({"--segments", "1 segment x 2k ids", "--segment-dense", "0", "--segment-adds", "0.5",
              "--segment-queries", "0", "--segment-contrast"})
          .load.segments;
  EXPECT_EQ(told.segments, 1u);
  EXPECT_EQ(told.ids, 2'000u);
  EXPECT_EQ(told.dense_percent, 0u);
  EXPECT_EQ(told.adds, 0.5);
  EXPECT_EQ(told.queries, 0u);
  EXPECT_TRUE(told.contrast);
}

TEST(LoadFlagsTest, RefusesWhatMakesNoSense) {
  for (const std::vector<const char*>& arguments : std::vector<std::vector<const char*>>{
           {"--bogus"},
           {"--workload", "nothing"},
           {"--via", "smoke"},
           {"--server", "localhost"},
           {"--server", "localhost:0"},
           {"--server", "localhost:70707"},
           {"--server", ":7070"},
           {"--value-size", "3"},
           {"--connections", "0"},
           {"--keys", "0"},
           {"--seconds", "-1"},
           {"--durability", "maybe"},
           {"--batch", "1000", "--value-size", "1MiB"},
           {"--segments", "100"},
           {"--segments", "0x1M"},
           {"--segments", "1x0"},
           {"--segments", "11kx1"},
           {"--segments", "1x101B"},
           {"--segments", "10x1k", "--via", "redis"},
           {"--segment-adds", "10"},
           {"--segment-queries", "1"},
           {"--segment-dense", "10"},
           {"--segment-contrast"},
           {"--segment-dense", "101", "--segments", "1x1"},
       }) {
    ::testing::internal::CaptureStderr();
    const auto result = Parse(arguments);
    const std::string said = ::testing::internal::GetCapturedStderr();
    ASSERT_TRUE(std::holds_alternative<int>(result)) << arguments[0];
    EXPECT_EQ(std::get<int>(result), 2);
    EXPECT_THAT(said, HasSubstr(arguments[0]));
  }
}

TEST(LoadFlagsTest, HelpSaysEverything) {
  ::testing::internal::CaptureStdout();
  const auto result = Parse({"--help"});
  const std::string said = ::testing::internal::GetCapturedStdout();
  EXPECT_EQ(std::get<int>(result), 0);
  EXPECT_THAT(said, HasSubstr("ycsb-e"));
  EXPECT_THAT(said, HasSubstr("memcached"));
  EXPECT_THAT(said, HasSubstr("Examples"));
}

}  // namespace
}  // namespace thermocline::load
