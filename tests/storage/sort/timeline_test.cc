#include "storage/timeline.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/executor_reads.h"
#include "storage/thread_pool.h"
#include "tests/storage/sort/sort_run.h"
#include "tests/support/simulated_disk.h"

namespace thermocline::storage {

bool operator==(const TimelineChange& a, const TimelineChange& b) {
  return a.at == b.at && a.running == b.running && a.started == b.started && a.ended == b.ended;
}

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Changes = std::vector<TimelineChange>;

class TimelineTest : public ::testing::Test {
 protected:
  TimelineTest() : store_(*OpenDirectoryStore("/runs", disk_, reads_)) {}
  ~TimelineTest() override { EXPECT_THAT(disk_.Paths(), ElementsAre("/runs/LOCK")); }

  Changes All(Timeline& timeline) {
    EXPECT_TRUE(timeline.Finish().ok());
    Changes all;
    Changes some(97);
    for (;;) {
      const absl::StatusOr<size_t> count = timeline.Next(some);
      EXPECT_TRUE(count.ok()) << count.status();
      if (!count.ok() || *count == 0) return all;
      all.insert(all.end(), some.begin(), some.begin() + static_cast<ptrdiff_t>(*count));
    }
  }

  Changes All(const std::vector<Interval>& intervals) {
    Timeline timeline(*store_, "t-", Timeline::kMinBytes);
    EXPECT_TRUE(timeline.Add(intervals).ok());
    return All(timeline);
  }

  std::vector<TimelineBucket> Buckets(const std::vector<Interval>& intervals, Moment every) {
    Timeline timeline(*store_, "t-", Timeline::kMinBytes);
    EXPECT_TRUE(timeline.Add(intervals).ok());
    EXPECT_TRUE(timeline.Finish().ok());
    TimelineBuckets source(timeline, every);
    std::vector<TimelineBucket> all;
    std::vector<TimelineBucket> some(7);
    for (;;) {
      const absl::StatusOr<size_t> count = source.Next(some);
      EXPECT_TRUE(count.ok()) << count.status();
      if (!count.ok() || *count == 0) return all;
      all.insert(all.end(), some.begin(), some.begin() + static_cast<ptrdiff_t>(*count));
    }
  }

  absl::StatusOr<IntervalSummary> Read(std::string_view text, const IntervalShape& shape,
                                       Timeline& timeline) {
    testing::TextReader input(text, 1000);
    SortProgress progress;
    return ReadIntervals(input, shape, kMinSortBytes, timeline, progress);
  }

  testing::SimulatedDisk disk_{1};
  ThreadPool pool_{"reads", 2};
  ExecutorReads reads_{pool_};
  std::unique_ptr<ObjectStore> store_;
};

TEST_F(TimelineTest, CountsWhatRuns) {
  EXPECT_THAT(All(std::vector<Interval>{}), IsEmpty());
  EXPECT_EQ(All({{10, 20}, {15, 30}, {20, 25}}),
            (Changes{{10, 1, 1, 0}, {15, 2, 1, 0}, {20, 2, 1, 1}, {25, 1, 0, 1}, {30, 0, 0, 1}}));
  // Empty, open on either side, on both.
  EXPECT_EQ(All({{5, 5}, {7, kNever}, {kAlways, 6}, {kAlways, kNever}}),
            (Changes{{5, 2, 1, 1}, {6, 1, 0, 1}, {7, 2, 1, 0}}));
  EXPECT_EQ(All({{INT64_MIN + 1, INT64_MAX - 1}, {-1, 0}}),
            (Changes{{INT64_MIN + 1, 1, 1, 0}, {-1, 2, 1, 0}, {0, 1, 0, 1}, {INT64_MAX - 1, 0, 0, 1}}));
}

TEST_F(TimelineTest, BucketsTellLeastMostAndMean) {
  const auto buckets = Buckets({{-5, 12}, {3, 5}, {4, 4}, {25, kNever}}, 10);
  ASSERT_EQ(buckets.size(), 4);
  const auto is = [&](size_t i, Moment begin, uint64_t least, uint64_t most, double mean, uint64_t started,
                      uint64_t ended) {
    EXPECT_EQ(buckets[i].begin, begin);
    EXPECT_EQ(buckets[i].least, least) << i;
    EXPECT_EQ(buckets[i].most, most) << i;
    EXPECT_DOUBLE_EQ(buckets[i].mean, mean) << i;
    EXPECT_EQ(buckets[i].started, started) << i;
    EXPECT_EQ(buckets[i].ended, ended) << i;
  };
  is(0, -10, 0, 1, 0.5, 1, 0);
  is(1, 0, 1, 2, 1.2, 2, 2);
  is(2, 10, 0, 1, 0.2, 0, 1);
  is(3, 20, 0, 1, 0.5, 1, 0);
  EXPECT_THAT(Buckets({}, 10), IsEmpty());
  EXPECT_EQ(Buckets({{INT64_MIN + 1, INT64_MAX - 1}}, INT64_MAX).size(), 2);
}

std::vector<Interval> RandomIntervals(uint64_t seed, size_t count, uint64_t range) {
  std::mt19937_64 random(seed);
  std::vector<Interval> intervals;
  for (size_t i = 0; i < count; ++i) {
    Interval interval{static_cast<Moment>(random() % range) - static_cast<Moment>(range / 2), kNever};
    if (random() % 100 != 0) interval.end = interval.start + static_cast<Moment>(random() % (range / 10 + 1));
    if (random() % 100 == 0) interval.start = kAlways;
    intervals.push_back(interval);
  }
  return intervals;
}

// Every moment asked for itself.
TEST_F(TimelineTest, EqualsBruteForce) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const std::vector<Interval> intervals = RandomIntervals(seed, 200, 300);
    std::map<Moment, std::pair<uint64_t, uint64_t>> events;
    for (const Interval& interval : intervals) {
      if (interval.start != kAlways) ++events[interval.start].first;
      if (interval.end != kNever) ++events[interval.end].second;
    }
    Changes expected;
    for (const auto& [at, counts] : events) {
      const auto running = std::count_if(
          intervals.begin(), intervals.end(),
          [at = at](const Interval& interval) { return interval.start <= at && at < interval.end; });
      expected.push_back({at, static_cast<uint64_t>(running), counts.first, counts.second});
    }
    EXPECT_EQ(All(intervals), expected) << seed;
  }
}

TEST_F(TimelineTest, LargerThanItsMemory) {
  for (const uint64_t range : {uint64_t{1000}, uint64_t{1} << 40}) {
    const std::vector<Interval> intervals = RandomIntervals(3, 900'000, range);
    std::map<Moment, int64_t> differences;
    int64_t running = 0;
    for (const Interval& interval : intervals) {
      (interval.start == kAlways ? running : differences[interval.start]) += 1;
      if (interval.end != kNever) differences[interval.end] -= 1;
    }
    const uint64_t written = disk_.counts().written_bytes;
    const Changes changes = All(intervals);
    EXPECT_GT(disk_.counts().written_bytes, written);
    ASSERT_EQ(changes.size(), differences.size());
    auto expected = differences.begin();
    for (const TimelineChange& change : changes) {
      running += expected->second;
      ASSERT_EQ(change.at, expected->first);
      ASSERT_EQ(change.running, static_cast<uint64_t>(running));
      ++expected;
    }
  }
}

TEST_F(TimelineTest, AFullDiskIsToldOf) {
  Timeline timeline(*store_, "t-", Timeline::kMinBytes);
  disk_.SetCapacity(100 << 10);
  EXPECT_TRUE(absl::IsResourceExhausted(timeline.Add(RandomIntervals(1, 300'000, uint64_t{1} << 40))));
}

TEST_F(TimelineTest, ReadsRows) {
  Timeline timeline(*store_, "t-", Timeline::kMinBytes);
  const auto rows = Read(
      "{\"s\":1000,\"e\":3000}\n"
      "{\"s\":\"1970-01-01T00:00:02Z\",\"e\":null}\n"
      "{\"s\":null,\"e\":5}\n"
      "{\"s\":2500,\"e\":2500}\n",
      {.start = "s", .end = "e"}, timeline);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(rows->rows, 4);
  EXPECT_EQ(rows->not_started, 1);
  EXPECT_FALSE(rows->numbers);
  EXPECT_EQ(timeline.summary().empty, 1);
  EXPECT_EQ(timeline.summary().open_ends, 1);
  EXPECT_EQ(
      All(timeline),
      (Changes{{1'000'000, 1, 1, 0}, {2'000'000, 2, 1, 0}, {2'500'000, 2, 1, 1}, {3'000'000, 1, 0, 1}}));

  Timeline csv(*store_, "c-", Timeline::kMinBytes);
  ASSERT_TRUE(Read("e,s\n2.5,1\n,2\n",
                   {.format = RecordFormat::kCsv, .start = "s", .end = "e", .unit = 1'000'000}, csv)
                  .ok());
  EXPECT_EQ(All(csv), (Changes{{1'000'000, 1, 1, 0}, {2'000'000, 2, 1, 0}, {2'500'000, 1, 0, 1}}));
}

TEST_F(TimelineTest, RefusesWhatIsNoInterval) {
  Timeline timeline(*store_, "t-", Timeline::kMinBytes);
  const auto message = [&](std::string_view text) {
    return std::string(Read(text, {.start = "s", .end = "e"}, timeline).status().message());
  };
  EXPECT_EQ(
      message("{\"s\":1,\"e\":2}\n\n{\"s\":2000,\"e\":1000}\n"),
      "line 3: the interval ends before it starts: s is 1970-01-01T00:00:02Z, e is 1970-01-01T00:00:01Z");
  EXPECT_THAT(message("{\"s\":\"soon\"}\n"), HasSubstr("s is no time: \"soon\""));
  EXPECT_THAT(message("{\"s\":true}\n"), HasSubstr("s is no time"));
  EXPECT_THAT(message("{\"s\":9223372036854775807}\n"), HasSubstr("too far"));
  EXPECT_THAT(message("{\"s\":1\n"), HasSubstr("line 1: is not JSON"));
  const auto skipped = Read("{\"s\":2,\"e\":1}\nx\n{\"s\":1,\"e\":2}\n",
                            {.start = "s", .end = "e", .skip_invalid = true}, timeline);
  ASSERT_TRUE(skipped.ok());
  EXPECT_EQ(skipped->invalid, 2);
  EXPECT_EQ(skipped->inverted, 1);
  EXPECT_THAT(skipped->first_invalid, HasSubstr("line 1: "));
}

TEST(Moments, AreReadAsRfc3339IsoAndDatabasesWriteThem) {
  const Moment noon = 1'751'371'200'000'000;  // 2025-07-01T12:00:00Z
  EXPECT_EQ(ParseMoment("2025-07-01"), noon - Moment{12} * 3'600'000'000);
  for (const char* text :
       {"2025-07-01T12:00:00Z", "2025-07-01 12:00", "2025-07-01t12:00:00.000z", "2025-07-01 14:00:00+02",
        "2025-07-01T06:30:00-05:30", "2025-07-01 12:00:00+0000", "2025-07-01 12:00:00 +00:00"}) {
    EXPECT_EQ(ParseMoment(text), noon) << text;
  }
  EXPECT_EQ(ParseMoment("2025-07-01T12:00:00.1234567Z"), noon + 123'456);
  EXPECT_EQ(ParseMoment("1969-12-31T23:59:59.5Z"), -500'000);
  EXPECT_EQ(ParseMoment("2016-12-31T23:59:60Z"), ParseMoment("2017-01-01"));
  EXPECT_EQ(ParseMoment("infinity"), kNever);
  EXPECT_EQ(ParseMoment("-infinity"), kAlways);
  for (const char* text : {"", "2025", "2025-02-29", "2025-13-01", "0000-00-00 00:00:00",
                           "2025-07-01T24:00:00Z", "2025-07-01T", "2025-07-01T12", "2025-07-01T12:00:00.Z",
                           "2025-07-01T12:00:00+2", "2025-07-01 12:00:00 x", "12025-07-01", "2025-7-1"}) {
    EXPECT_EQ(ParseMoment(text), std::nullopt) << text;
  }
}

TEST(Moments, AreWrittenAsTheyAreRead) {
  EXPECT_EQ(FormatMoment(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(FormatMoment(-1), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(FormatMoment(1'751'371'200'250'000), "2025-07-01T12:00:00.25Z");
  EXPECT_EQ(FormatMoment(kNever), "infinity");
  std::mt19937_64 random(1);
  for (int i = 0; i < 10'000; ++i) {
    const auto moment = static_cast<Moment>(random() % 250'000'000'000'000'000);
    EXPECT_EQ(ParseMoment(FormatMoment(moment)), moment);
  }
}

TEST(IntervalReaderTest, ReadsValues) {
  auto opened = IntervalReader::New({.start = "s.at", .end = "e"});
  ASSERT_TRUE(opened.ok()) << opened.status();
  IntervalReader& reader = **opened;
  const auto is = [&](std::string_view value, Moment start, Moment end) {
    const auto interval = reader.Read(value);
    ASSERT_TRUE(interval.ok()) << interval.status();
    ASSERT_TRUE(interval->has_value()) << value;
    EXPECT_EQ((*interval)->start, start) << value;
    EXPECT_EQ((*interval)->end, end) << value;
  };
  is(R"({"s":{"at":5},"e":7})", 5000, 7000);
  is("\n {\n\"e\": 7,\n\"s\": {\"at\": 7}}\n", 7000, 7000);
  is(R"({"s":{"at":-2.5},"e":null})", -2500, kNever);
  is(R"({"s":{"at":5}})", 5000, kNever);
  EXPECT_TRUE(reader.numbers());
  is(R"({"s":{"at":"-infinity"},"e":""})", kAlways, kNever);
  EXPECT_FALSE(reader.numbers());
  for (const char* const value : {R"({"s":{},"e":7})", R"({"s":5})", "{}", R"({"s":{"at":"infinity"}})"}) {
    const auto interval = reader.Read(value);
    EXPECT_TRUE(interval.ok() && !interval->has_value()) << value;
  }
  const auto refusal = [&](std::string_view value) {
    return std::string(reader.Read(value).status().message());
  };
  EXPECT_THAT(refusal(""), HasSubstr("is not a JSON object"));
  EXPECT_THAT(refusal("[1]"), HasSubstr("is not a JSON object"));
  EXPECT_THAT(refusal("{\"s\":"), HasSubstr("is not JSON"));
  EXPECT_EQ(reader.inverted(), 0);
  EXPECT_THAT(refusal(R"({"s":{"at":5},"e":4})"), HasSubstr("ends before it starts"));
  EXPECT_EQ(reader.inverted(), 1);
  // Cut between characters.
  std::string umlauts = "x";
  for (int i = 0; i < 50; ++i) umlauts += "\xc3\xa4";
  EXPECT_THAT(refusal("{\"s\":{\"at\":\"" + umlauts + "\"}}"), HasSubstr(umlauts.substr(0, 59) + "\";"));
  EXPECT_THAT(refusal("{\"x\":\"" + std::string(IntervalReader::kMaxValueBytes, 'x') + "\"}"),
              HasSubstr("at most"));
  EXPECT_FALSE(IntervalReader::New({.start = "", .end = "e"}).ok());
}

}  // namespace
}  // namespace thermocline::storage
