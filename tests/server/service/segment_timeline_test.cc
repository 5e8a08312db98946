#include "server/service/segment_timeline.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "storage/timeline.h"
#include "tests/server/service/segments_fixture.h"

namespace thermocline::server {
namespace {

using storage::Moment;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr Moment kEvery = 50'000;  // microseconds; times are milliseconds

v1::TimelineRequest RequestOf(const std::string& expression, uint64_t every = 0) {
  v1::TimelineRequest request;
  *request.mutable_query() = QueryOf(expression);
  request.set_key_pattern("session:{id}");
  request.set_start("from");
  request.set_end("to");
  request.set_every_us(every);
  return request;
}

struct Outcome {
  v1::TimelineResponse::Summary summary;
  std::vector<v1::TimelineResponse::Change> changes;
  std::vector<v1::TimelineResponse::Bucket> buckets;
  v1::Progress progress;
  std::string normalized;
};

class SegmentTimelineTest : public SegmentsFixture {
 protected:
  // What comes must come in the order that the API promises.
  absl::StatusOr<Outcome> Timeline(const v1::TimelineRequest& request) {
    const auto responses = ReadAll<v1::TimelineResponse>(service_->Timeline(request));
    Settle();
    EXPECT_THAT(Scratch(), IsEmpty());
    if (!responses.ok()) return responses.status();
    Outcome all;
    for (const v1::TimelineResponse& response : *responses) {
      EXPECT_EQ(response.has_summary(), !all.summary.complete());
      if (response.has_summary()) all.summary = response.summary();
      const bool rows = !response.changes().empty() || !response.buckets().empty();
      EXPECT_TRUE(!rows || !response.has_summary());
      EXPECT_EQ(response.progress().done(), &response == &responses->back());
      EXPECT_EQ(!response.progress().normalized().empty(), &response == &responses->front());
      if (!response.progress().normalized().empty()) all.normalized = response.progress().normalized();
      all.changes.insert(all.changes.end(), response.changes().begin(), response.changes().end());
      all.buckets.insert(all.buckets.end(), response.buckets().begin(), response.buckets().end());
      all.progress = response.progress();
    }
    return all;
  }

  std::vector<std::string> Scratch() {
    std::vector<std::string> names;
    EXPECT_TRUE(objects_
                    .List(SegmentTimelines::kFolder,
                          [&](storage::ObjectStore::Listed object) {
                            names.push_back(std::move(object.name));
                            return true;
                          })
                    .ok());
    return names;
  }

  void SetSession(uint64_t id, const std::string& value) { store_.Set(fmt::format("session:{}", id), value); }

  // So many sessions that their times do not fit in the least memory.
  void LoadMany(uint64_t count) {
    Load("many", Range(1, count));
    for (uint64_t first = 1; first <= count; first += 1000) {
      v1::BatchWriteRequest batch;
      for (uint64_t id = first; id < std::min(first + 1000, count + 1); ++id) {
        v1::SetRequest& set = *batch.add_writes()->mutable_set();
        set.set_key(fmt::format("session:{}", id));
        set.set_value(fmt::format(R"({{"from":{},"to":{}}})", id * 7919 % count, id * 7919 % count + 3));
      }
      store_.BatchWrite(batch);
    }
    Settle();
  }
};

// The sessions of a test, told by brute force.
struct Sessions {
  std::vector<std::pair<Moment, Moment>> intervals;
  v1::TimelineResponse::Summary counts;

  uint64_t RunningAt(Moment at) const {
    return static_cast<uint64_t>(
        std::count_if(intervals.begin(), intervals.end(),
                      [at](const auto& interval) { return interval.first <= at && at < interval.second; }));
  }
};

// A value with such a session, or none; kinds are the ones that the API tells apart.
std::optional<std::string> RandomValue(std::mt19937_64& random, Sessions& sessions) {
  const auto count = [&](auto get, auto set) { (sessions.counts.*set)((sessions.counts.*get)() + 1); };
  using Summary = v1::TimelineResponse::Summary;
  const uint64_t kind = random() % 20;
  if (kind == 0) {
    count(&Summary::missing, &Summary::set_missing);
    return std::nullopt;
  }
  count(&Summary::values, &Summary::set_values);
  const auto invalid = [&](std::string value) {
    count(&Summary::invalid, &Summary::set_invalid);
    return value;
  };
  const auto from = static_cast<Moment>(random() % 600) - 300;
  const Moment to = from + static_cast<Moment>(random() % 60);
  if (kind == 1) return invalid("not json");
  if (kind == 2) return invalid(R"({"from": "soon", "to": 5})");
  if (kind == 3) return invalid("17");
  if (kind == 4) {
    count(&Summary::inverted, &Summary::set_inverted);
    return invalid(fmt::format(R"({{"from":{},"to":{}}})", from, from - 1));
  }
  if (kind == 5) {
    count(&Summary::not_started, &Summary::set_not_started);
    return random() % 2 == 0 ? R"({"from":null,"to":5})" : R"({"to":5})";
  }
  count(&Summary::intervals, &Summary::set_intervals);
  if (kind == 6) {
    count(&Summary::empty, &Summary::set_empty);
    sessions.intervals.push_back({from * 1000, from * 1000});
    return fmt::format(R"({{"from":{},"to":{}}})", from, from);
  }
  if (kind == 7) {
    count(&Summary::open_ends, &Summary::set_open_ends);
    sessions.intervals.push_back({from * 1000, storage::kNever});
    return fmt::format(R"({{"from":{}{}}})", from, random() % 2 == 0 ? R"(,"to":null)" : "");
  }
  if (kind == 8) {
    count(&Summary::always, &Summary::set_always);
    sessions.intervals.push_back({storage::kAlways, to * 1000});
    return fmt::format(R"({{"from":"-infinity","to":{}}})", to);
  }
  if (from == to) count(&Summary::empty, &Summary::set_empty);
  sessions.intervals.push_back({from * 1000, to * 1000});
  return fmt::format("{{\n  \"x\": [1, {{}}], \"to\": {},\n \"from\": {}.0}}", to, from);
}

void ExpectCounts(const v1::TimelineResponse::Summary& got, const v1::TimelineResponse::Summary& wanted) {
  EXPECT_EQ(got.values(), wanted.values());
  EXPECT_EQ(got.missing(), wanted.missing());
  EXPECT_EQ(got.not_started(), wanted.not_started());
  EXPECT_EQ(got.invalid(), wanted.invalid());
  EXPECT_EQ(got.inverted(), wanted.inverted());
  EXPECT_EQ(got.intervals(), wanted.intervals());
  EXPECT_EQ(got.empty(), wanted.empty());
  EXPECT_EQ(got.open_ends(), wanted.open_ends());
  EXPECT_EQ(got.always(), wanted.always());
  EXPECT_EQ(got.values(), got.intervals() + got.not_started() + got.invalid());
}

void ExpectChanges(const Outcome& got, const Sessions& sessions) {
  std::map<Moment, std::pair<uint64_t, uint64_t>> events;
  for (const auto& [from, to] : sessions.intervals) {
    if (from != storage::kAlways) ++events[from].first;
    if (to != storage::kNever) ++events[to].second;
  }
  ASSERT_EQ(got.changes.size(), events.size());
  size_t i = 0;
  for (const auto& [at, counts] : events) {
    const v1::TimelineResponse::Change& change = got.changes[i++];
    EXPECT_EQ(change.at_us(), at);
    EXPECT_EQ(change.running(), sessions.RunningAt(at)) << at;
    EXPECT_EQ(change.started(), counts.first) << at;
    EXPECT_EQ(change.ended(), counts.second) << at;
  }
  EXPECT_EQ(got.summary.first_us(), events.begin()->first);
  EXPECT_EQ(got.summary.last_us(), events.rbegin()->first);
}

// All times are whole milliseconds.
void ExpectBuckets(const Outcome& got, const Sessions& sessions) {
  ASSERT_FALSE(got.buckets.empty());
  Moment begin = got.buckets.front().begin_us();
  EXPECT_EQ(begin % kEvery, 0);
  EXPECT_LE(begin, got.summary.first_us());
  EXPECT_GT(begin + kEvery, got.summary.first_us());
  for (const v1::TimelineResponse::Bucket& bucket : got.buckets) {
    EXPECT_EQ(bucket.begin_us(), begin);
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    double sum = 0;
    for (Moment at = begin; at < begin + kEvery; at += 1000) {
      const uint64_t running = sessions.RunningAt(at);
      least = std::min(least, running);
      most = std::max(most, running);
      sum += static_cast<double>(running);
    }
    EXPECT_EQ(bucket.least(), least) << begin;
    EXPECT_EQ(bucket.most(), most) << begin;
    EXPECT_NEAR(bucket.mean(), sum * 1000 / kEvery, 1e-9) << begin;
    begin += kEvery;
  }
  EXPECT_GT(begin, got.summary.last_us());
}

TEST_F(SegmentTimelineTest, EqualsBruteForce) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    std::mt19937_64 random(seed);
    Sessions sessions;
    Ids ids;
    for (uint64_t i = 0; i < 600; ++i) {
      ids.push_back(seed * 100'000 + i * 3);
      if (const auto value = RandomValue(random, sessions)) SetSession(ids.back(), *value);
    }
    Load("some", ids);
    const auto changes = Timeline(RequestOf("some"));
    ASSERT_TRUE(changes.ok()) << changes.status();
    ExpectCounts(changes->summary, sessions.counts);
    ExpectChanges(*changes, sessions);
    EXPECT_THAT(changes->buckets, IsEmpty());
    EXPECT_EQ(changes->progress.ids(), ids.size());
    EXPECT_THAT(changes->summary.first_invalid(), HasSubstr("the value of id"));
    const auto buckets = Timeline(RequestOf("some", kEvery));
    ASSERT_TRUE(buckets.ok()) << buckets.status();
    ExpectCounts(buckets->summary, sessions.counts);
    ExpectBuckets(*buckets, sessions);
    EXPECT_THAT(buckets->changes, IsEmpty());
  }
}

TEST_F(SegmentTimelineTest, OfAnExpressionAndOfNothing) {
  Load("ny", {1, 2, 3});
  Load("vip", {2, 3, 4});
  for (uint64_t id = 1; id <= 4; ++id) {
    SetSession(id, fmt::format(R"({{"from":"2025-07-01T0{}:00:00Z","to":"2025-07-02"}})", id));
  }
  const auto both = Timeline(RequestOf("ny & vip"));
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(both->normalized, "ny & vip");
  EXPECT_EQ(both->summary.intervals(), 2u);
  EXPECT_FALSE(both->summary.numbers());
  ASSERT_EQ(both->changes.size(), 3u);
  EXPECT_EQ(both->changes[0].at_us(), storage::ParseMoment("2025-07-01 02:00"));
  EXPECT_EQ(both->changes[1].running(), 2u);
  EXPECT_EQ(both->changes[2].ended(), 2u);
  for (const uint64_t every : {0, 1000}) {
    const auto nothing = Timeline(RequestOf("ny - ny", every));
    ASSERT_TRUE(nothing.ok()) << nothing.status();
    EXPECT_TRUE(nothing->summary.complete());
    EXPECT_FALSE(nothing->summary.has_first_us());
    EXPECT_THAT(nothing->changes, IsEmpty());
    EXPECT_THAT(nothing->buckets, IsEmpty());
  }
}

TEST_F(SegmentTimelineTest, LongValuesAreInvalid) {
  Load("some", {1, 2, 3});
  SetSession(1, R"({"from":1,"to":2,"x":")" + std::string(65'000, 'x') + "\"}");
  SetSession(2, R"({"from":1,"to":2,"x":")" + std::string(66'000, 'x') + "\"}");
  SetSession(3, R"({"from":1,"to":2,"x":")" + std::string(2 << 20, 'x') + "\"}");
  const auto got = Timeline(RequestOf("some"));
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->summary.intervals(), 1u);
  EXPECT_EQ(got->summary.invalid(), 2u);
  EXPECT_THAT(got->summary.first_invalid(), AllOf(HasSubstr("id 2: has "), HasSubstr("65536")));
}

TEST_F(SegmentTimelineTest, MoreThanItsMemoryGoesThroughTheStore) {
  constexpr uint64_t kCount = 120'000;
  LoadMany(kCount);
  auto reader = service_->Timeline(RequestOf("many"));
  ASSERT_TRUE(reader.ok()) << reader.status();
  size_t most_objects = 0;
  Moment last = INT64_MIN;
  uint64_t running = 0;
  uint64_t started = 0;
  for (bool more = true; more;) {
    v1::TimelineResponse response;
    const auto next =
        Await<absl::StatusOr<bool>>([&](auto done) { reader->Next(&response, std::move(done)); });
    ASSERT_TRUE(next.ok()) << next.status();
    more = *next;
    most_objects = std::max(most_objects, Scratch().size());
    for (const v1::TimelineResponse::Change& change : response.changes()) {
      EXPECT_GT(change.at_us(), last);
      last = change.at_us();
      started += change.started();
      running += change.started() - change.ended();
      EXPECT_EQ(change.running(), running);
    }
    EXPECT_LE(response.changes_size(), 4096);
    const storage::SegmentsStats stats = segments_->Stats();
    EXPECT_TRUE(!more || stats.memory_used >= storage::Timeline::kMinBytes) << stats.memory_used;
  }
  EXPECT_GE(most_objects, 4u);  // two runs of starts, and of ends
  EXPECT_EQ(started, kCount);
  EXPECT_EQ(running, 0u);
  { const auto gone = *std::move(reader); }
  Settle();
  EXPECT_THAT(Scratch(), IsEmpty());

  objects_.FailAppends(absl::ResourceExhaustedError("the disk is full"));
  const auto failed = Timeline(RequestOf("many"));
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(failed.status()), HasSubstr("the disk is full"));
  objects_.FailAppends(absl::OkStatus());
}

TEST_F(SegmentTimelineTest, MayBeGivenUpAtAnyTime) {
  LoadMany(4000);
  const uint64_t idle = segments_->Stats().memory_used;
  for (int steps = 0; steps < 60; ++steps) {
    auto opened = service_->Timeline(RequestOf("many"));
    ASSERT_TRUE(opened.ok()) << opened.status();
    std::optional<SegmentTimelineReader> reader(*std::move(opened));
    bool over = false;
    bool told_late = false;
    // What the client asks for one after the other.
    std::function<void()> ask = [&] {
      const auto response = std::make_shared<v1::TimelineResponse>();
      reader->Next(response.get(), [&, response](const absl::StatusOr<bool>& more) {
        told_late = told_late || over;
        if (!over && more.ok() && *more) executor_.Run([&] { over ? void() : ask(); });
      });
    };
    if (steps > 0) ask();
    for (int i = 1; i < steps; ++i) executor_.RunOne();
    over = true;
    reader.reset();
    Settle();
    EXPECT_FALSE(told_late) << steps;
    EXPECT_THAT(segments_->Stats().running, IsEmpty());
    EXPECT_EQ(segments_->Stats().memory_used, idle);
    EXPECT_THAT(Scratch(), IsEmpty());
  }
}

TEST_F(SegmentTimelineTest, GivenUpWithRunsInTheStore) {
  LoadMany(120'000);
  auto opened = service_->Timeline(RequestOf("many"));
  ASSERT_TRUE(opened.ok()) << opened.status();
  std::optional<SegmentTimelineReader> reader(*std::move(opened));
  for (bool complete = false; !complete;) {
    v1::TimelineResponse response;
    const auto next =
        Await<absl::StatusOr<bool>>([&](auto done) { reader->Next(&response, std::move(done)); });
    ASSERT_TRUE(next.ok()) << next.status();
    complete = response.summary().complete();
  }
  EXPECT_FALSE(Scratch().empty());
  reader.reset();
  Settle();
  EXPECT_THAT(Scratch(), IsEmpty());
}

TEST_F(SegmentTimelineTest, WhatACrashLeftIsSwept) {
  objects_.Put("timelines/7-starts-0", "left");
  objects_.Put("timelines/7-ends-12", "left");
  objects_.Put("timeliness", "another's");
  service_ = nullptr;
  timelines_ = nullptr;
  auto opened = SegmentTimelines::Open(*segments_, store_.engine(), objects_, executor_, kSegmentMemory);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_THAT(Scratch(), IsEmpty());
  EXPECT_EQ(objects_.Bytes("timeliness"), "another's");
}

// Just enough for the query beside it, and just too little.
TEST_F(SegmentTimelineTest, NeedsMemoryForSegments) {
  storage::SegmentsOptions options;
  options.directory = "/small";
  options.memory_bytes = 16 << 20;
  thermocline::testing::MemoryObjects objects;
  auto segments = storage::Segments::Open(
      options, {store_.disk(), store_.clock(), objects, executor_, executor_, executor_, {}});
  ASSERT_TRUE(segments.ok()) << segments.status();
  {
    const Ids ids = Range(1, 1000, 1000);
    auto write = (*segments)->Write("some", storage::SegmentChange::kReplace, {});
    ASSERT_TRUE(write.ok()) << write.status();
    const auto added =
        Await<absl::Status>([&](auto done) { (*write)->Add(std::span(ids), std::move(done)); });
    ASSERT_TRUE(added.ok()) << added;
    const auto written = Await<absl::StatusOr<storage::SegmentWriteResult>>(
        [&](auto done) { (*write)->Finish(std::move(done)); });
    ASSERT_TRUE(written.ok()) << written.status();
  }
  for (const bool enough : {true, false}) {
    auto timelines = SegmentTimelines::Open(**segments, store_.engine(), objects, executor_,
                                            options.memory_bytes - (enough ? 0 : 1));
    ASSERT_TRUE(timelines.ok()) << timelines.status();
    const auto responses = ReadAll<v1::TimelineResponse>((*timelines)->Read(RequestOf("some")));
    Settle();
    EXPECT_EQ(responses.ok(), enough) << responses.status();
    if (enough) continue;
    EXPECT_EQ(responses.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(Message(responses.status()), AllOf(HasSubstr("16 MiB"), HasSubstr("--segment-memory")));
  }
  Settle();
}

TEST_F(SegmentTimelineTest, RequestsAreChecked) {
  Load("some", {1});
  const auto refusal = [this](auto change) {
    v1::TimelineRequest request = RequestOf("some");
    change(request);
    const auto status = Timeline(request).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return Message(status);
  };
  EXPECT_THAT(refusal([](auto& request) { request.clear_query(); }), HasSubstr("query is missing"));
  EXPECT_THAT(refusal([](auto& request) { request.mutable_query()->clear_expression(); }),
              HasSubstr("expression is empty"));
  EXPECT_THAT(refusal([](auto& request) { request.set_key_pattern("x"); }), HasSubstr("key_pattern"));
  EXPECT_THAT(refusal([](auto& request) { request.set_start("a..b"); }), HasSubstr("\"a..b\""));
  EXPECT_THAT(refusal([](auto& request) { request.set_unit_us(UINT64_MAX); }), HasSubstr("unit_us"));
  EXPECT_THAT(refusal([](auto& request) { request.set_every_us(UINT64_MAX); }), HasSubstr("every_us"));
  EXPECT_EQ(Timeline(RequestOf("other")).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace thermocline::server
