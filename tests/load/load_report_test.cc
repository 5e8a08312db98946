#include "tests/load/load_report.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

namespace thermocline::load {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

LoadResult SomeResult() {
  bench::LatencyHistogram latencies;
  for (int i = 0; i < 990; ++i) latencies.Add(std::chrono::microseconds(100));
  for (int i = 0; i < 10; ++i) latencies.Add(std::chrono::milliseconds(20));
  LoadResult result;
  result.seconds = 2;
  result.operations = 1'000'000;
  result.errors = 3;
  result.first_fault = "UNAVAILABLE";
  result.latencies = latencies.Take();
  result.client_cpu_seconds = 1;
  result.server_cpu_seconds = 1.5;
  result.server_resident_bytes = 64 << 20;
  const double nothing = std::numeric_limits<double>::quiet_NaN();
  result.windows = {{0.1, 500'000, 1e-4, 2e-3, 5e-3, 0}, {0.2, 0, nothing, nothing, nothing, 3}};
  return result;
}

LoadOptions SomeOptions() {
  LoadOptions options;
  options.workload = *FindMix("ycsb-a");
  return options;
}

TEST(LoadReportTest, NumbersForPeople) {
  EXPECT_EQ(GroupedCount(0), "0");
  EXPECT_EQ(GroupedCount(999), "999");
  EXPECT_EQ(GroupedCount(1234567), "1 234 567");
  EXPECT_EQ(ShortTime(85.34e-6), "85.3 us");
  EXPECT_EQ(ShortTime(0.0125), "12.50 ms");
  EXPECT_EQ(ShortTime(2.5), "2.50 s");
  EXPECT_EQ(ShortTime(std::nan("")), "-");
}

TEST(LoadReportTest, TheTableEndsInTwoNumbers) {
  const std::string table = FinalTable(SomeResult());
  EXPECT_THAT(table, HasSubstr("1.50 us"));  // of the server, for each operation
  EXPECT_THAT(table, HasSubstr("64.0 MiB"));
  EXPECT_THAT(table, HasSubstr("first fault: UNAVAILABLE"));
  EXPECT_TRUE(table.ends_with("500 000 operations/s, p99 99.8 us\n")) << table;
}

TEST(LoadReportTest, ARunWithoutAnswersHasNoLatencies) {
  LoadResult result;
  result.seconds = 1;
  EXPECT_TRUE(FinalTable(result).ends_with("0 operations/s, p99 -\n"));
  EXPECT_THAT(FinalTable(result), Not(HasSubstr("server CPU")));
  EXPECT_THAT(LiveLine(result), HasSubstr("p99         -"));
  EXPECT_FALSE(ResultJson(SomeOptions(), result).empty());
  EXPECT_FALSE(ResultSvg(SomeOptions(), result).empty());
}

TEST(LoadReportTest, TheLiveLineShowsTheLastSecond) {
  LoadResult result = SomeResult();
  result.windows.insert(result.windows.begin(), 20, {0, 9e9, 9, 9, 9, 0});
  result.windows.insert(result.windows.end(), 8, {1, 500'000, 1e-4, 1e-3, 1e-3, 0});
  EXPECT_THAT(LiveLine(result), HasSubstr("450 000 ops/s   p99   2.00 ms   errors 3   wrong 0"));
}

SegmentResult SomeSegments() {
  bench::LatencyHistogram latencies;
  for (int i = 0; i < 40; ++i) latencies.Add(std::chrono::milliseconds(20));
  return {{.name = "segment add", .seconds = 2, .ids = 160, .latencies = latencies.Take()},
          {.name = "segment count", .seconds = 2, .errors = 7, .wrong = 8, .first_fault = "miscounted"}};
}

TEST(LoadReportTest, SegmentsHaveTheirLines) {
  LoadResult result = SomeResult();
  EXPECT_THAT(FinalTable(result), Not(HasSubstr("segment")));
  result.segments = SomeSegments();
  const std::string table = FinalTable(result);
  EXPECT_THAT(table, ContainsRegex("segment add +20\\.0 +80 +(19.9|20.)[0-9.]* ms .* 0 +0\n"));
  EXPECT_THAT(table, ContainsRegex("segment count +0\\.0 +0 +- +- +- +7 +8\n"));
  EXPECT_THAT(table, HasSubstr("first fault: miscounted"));
  EXPECT_TRUE(table.ends_with("500 000 operations/s, p99 99.8 us\n")) << table;
  const auto json = nlohmann::json::parse(ResultJson(SomeOptions(), result));
  EXPECT_EQ(json["segments"]["segment add"]["ids_per_second"], 80);
  EXPECT_NEAR(json["segments"]["segment add"]["p99"].get<double>(), 0.02, 4e-4);
  EXPECT_TRUE(json["segments"]["segment count"]["p99"].is_null());
  EXPECT_EQ(json["segments"]["segment count"]["wrong_answers"], 8);
}

// A result of so many calls of that latency in two seconds.
LoadResult Steady(uint64_t calls, std::chrono::milliseconds latency) {
  bench::LatencyHistogram latencies;
  for (uint64_t i = 0; i < calls; ++i) latencies.Add(latency);
  LoadResult result;
  result.seconds = 2;
  result.operations = calls;
  result.latencies = latencies.Take();
  return result;
}

TEST(LoadReportTest, TheContrastIsToBothRunsAlone) {
  using std::chrono::milliseconds;
  const std::string table = ContrastTable(Steady(1000, milliseconds(10)), Steady(600, milliseconds(40)),
                                          Steady(2000, milliseconds(20)));
  EXPECT_THAT(table, HasSubstr("alone again / alone: throughput x 2.00, p99 x 2.00\n"));
  EXPECT_THAT(table, HasSubstr("beside segments / alone: throughput x 0.40, p99 x 2.00\n"));
  EXPECT_THAT(table, ContainsRegex("beside segments +300 +(39|40)"));
  EXPECT_THAT(ContrastTable({}, {}, {}), HasSubstr("p99 x nan"));
}

TEST(LoadReportTest, Json) {
  const auto json = nlohmann::json::parse(ResultJson(SomeOptions(), SomeResult()));
  EXPECT_EQ(json["workload"], "ycsb-a");
  EXPECT_EQ(json["operations_per_second"], 500'000);
  EXPECT_NEAR(json["latency_seconds"]["p99.9"].get<double>(), 0.02, 4e-4);
  EXPECT_DOUBLE_EQ(json["server_cpu_seconds_per_operation"].get<double>(), 1.5e-6);
  EXPECT_EQ(json["windows"].size(), 2u);
  EXPECT_TRUE(json["windows"][1]["p99"].is_null());
}

TEST(LoadReportTest, SvgShowsThroughputOverTime) {
  const std::string svg = ResultSvg(SomeOptions(), SomeResult());
  EXPECT_TRUE(svg.starts_with("<svg"));
  EXPECT_THAT(svg, HasSubstr("500 000 operations/s"));
  EXPECT_THAT(svg, HasSubstr("nines"));
}

TEST(LoadReportTest, DescribesWhatItDoes) {
  LoadOptions options = SomeOptions();
  EXPECT_THAT(DescribeRun(options),
              HasSubstr("ycsb-a via wire to 127.0.0.1:7070: 1 000 000 keys, zipfian, values of 1000"));
  options.rate = 5000;
  EXPECT_THAT(DescribeRun(options), HasSubstr("5 000 operations/s, SYNC"));
  EXPECT_THAT(DescribeRun(options), Not(HasSubstr("segments")));
  options.segments = {.segments = 3, .ids = 1000, .adds = 2.5, .queries = 4};
  EXPECT_THAT(DescribeRun(options),
              HasSubstr("; beside it 3 segments of 1 000 ids, as many of a hundredth, 2.5 adds/s, 4 asking"));
  options.via = "redis";
  EXPECT_THAT(DescribeRun(options), Not(HasSubstr("SYNC")));
}

}  // namespace
}  // namespace thermocline::load
