#include "server/service/segments.h"

#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/server/service/segments_fixture.h"

namespace thermocline::server {
namespace {

using storage::SegmentChange;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using SegmentsTest = SegmentsFixture;

TEST_F(SegmentsTest, AddsRemovesAndLoads) {
  v1::ChangeRequest first = ChangeOf("a", {5, 1, 3, 1});
  first.set_count_changed(true);
  auto changed = Change(SegmentChange::kAdd, {first, ChangeOf("", {7, 9}), ChangeOf("a", {3})});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(changed->received(), 7u);
  EXPECT_EQ(changed->distinct(), 5u);
  EXPECT_EQ(changed->changed(), 5u);
  EXPECT_GT(changed->version(), 0u);
  const uint64_t version = changed->version();

  changed = Change(SegmentChange::kRemove, {ChangeOf("a", {1, 2})});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_FALSE(changed->has_changed());
  EXPECT_GT(changed->version(), version);
  EXPECT_THAT(QueryIds(QueryOf("a")).value(), ElementsAre(3, 5, 7, 9));

  changed = Change(SegmentChange::kReplace, {ChangeOf("a", {}), ChangeOf("", {4, UINT64_MAX, 0})});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_THAT(QueryIds(QueryOf("a")).value(), ElementsAre(0, 4, UINT64_MAX));

  changed = Change(SegmentChange::kRemove, {ChangeOf("none", {1})});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(changed->version(), 0u);
}

TEST_F(SegmentsTest, ChangesSayWhatIsWrongWithThem) {
  auto changed = Change(SegmentChange::kAdd, {ChangeOf("", {1})});
  EXPECT_EQ(changed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(changed.status()),
              AllOf(HasSubstr("segment of the first message"), HasSubstr("empty")));
  changed = Change(SegmentChange::kAdd, {ChangeOf(std::string(257, 'n'), {1})});
  EXPECT_THAT(Message(changed.status()), AllOf(HasSubstr("257"), HasSubstr("256")));
  changed = Change(SegmentChange::kAdd, {ChangeOf("a\nb", {1})});
  EXPECT_THAT(Message(changed.status()), HasSubstr("control character at byte 1"));
  changed = Change(SegmentChange::kAdd, {});
  EXPECT_EQ(changed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(changed.status()), HasSubstr("no message"));
  changed = Change(SegmentChange::kAdd, {ChangeOf("a", {1}), ChangeOf("b", {2})});
  EXPECT_EQ(changed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(changed.status()), AllOf(HasSubstr("\"b\""), HasSubstr("\"a\"")));
  EXPECT_EQ(QueryIds(QueryOf("a")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SegmentsTest, AChangeThatIsGivenUpChangesNothing) {
  Load("a", {1, 2});
  const v1::ChangeRequest request = ChangeOf("a", {3});
  // Destroyed while it is being opened, between messages, while one is taken.
  for (int when = 0; when < 3; ++when) {
    auto changer = service_->Change(SegmentChange::kReplace);
    ASSERT_TRUE(changer.ok()) << changer.status();
    bool told = false;
    if (when == 0) {
      (*changer)->Take(request, [&told](const absl::Status&) { told = true; });
    } else {
      EXPECT_TRUE(Await<absl::Status>([&](auto done) { (*changer)->Take(request, std::move(done)); }).ok());
    }
    if (when == 2) (*changer)->Take(request, [](const absl::Status&) {});
    changer->reset();
    Settle();
    EXPECT_FALSE(told);
  }
  EXPECT_THAT(QueryIds(QueryOf("a")).value(), ElementsAre(1, 2));
  Settle();
  EXPECT_THAT(segments_->Stats().running, IsEmpty());
}

TEST_F(SegmentsTest, AChangeThatIsGivenUpAtItsEndHasHappenedOrNot) {
  Load("a", {1});
  for (int i = 0; i < 10; ++i) {
    auto changer = service_->Change(SegmentChange::kReplace);
    const v1::ChangeRequest request = ChangeOf("a", {2});
    EXPECT_TRUE(Await<absl::Status>([&](auto done) { (*changer)->Take(request, std::move(done)); }).ok());
    const auto response = std::make_shared<v1::ChangeResponse>();
    (*changer)->Finish(response.get(), [response](const absl::Status&) {});
    for (int step = 0; step < i; ++step) executor_.RunOne();
    changer->reset();
    Settle();
    EXPECT_THAT(QueryIds(QueryOf("a")).value(), SizeIs(1));
  }
}

TEST_F(SegmentsTest, AQueryTellsHowFarItIs) {
  Load("a", Range(0, 300'000, 1000));
  const auto responses = Query(QueryOf("a | a"));
  ASSERT_TRUE(responses.ok()) << responses.status();
  ASSERT_GE(responses->size(), 5u);
  uint64_t ids = 0;
  for (size_t i = 0; i < responses->size(); ++i) {
    const v1::QueryResponse& response = (*responses)[i];
    const bool last = i + 1 == responses->size();
    ids += response.ids().size();
    EXPECT_EQ(response.progress().ids(), ids);
    EXPECT_GE(response.progress().max_ids(), ids);
    EXPECT_EQ(response.progress().done(), last);
    EXPECT_EQ(response.progress().normalized().empty(), i != 0);
    EXPECT_EQ(response.ids().empty(), last);
    EXPECT_LT(response.ByteSizeLong(), 2u << 20);
  }
  EXPECT_EQ(ids, 300'000u);
}

TEST_F(SegmentsTest, AnEmptyQueryIsDoneAtOnce) {
  Load("a", {1});
  const auto responses = Query(QueryOf("a - a"));
  ASSERT_TRUE(responses.ok()) << responses.status();
  ASSERT_THAT(*responses, SizeIs(1));
  EXPECT_TRUE(responses->front().progress().done());
  EXPECT_FALSE(responses->front().progress().normalized().empty());
}

TEST_F(SegmentsTest, LimitsAndResumes) {
  Load("a", Range(100, 1000, 3));
  v1::QueryRequest request = QueryOf("a");
  request.set_limit(10);
  EXPECT_EQ(QueryIds(request).value(), Range(100, 10, 3));
  request.set_after(127);
  EXPECT_EQ(QueryIds(request).value(), Range(130, 10, 3));
  request.set_after(UINT64_MAX);
  EXPECT_THAT(QueryIds(request).value(), IsEmpty());
  Load("zero", {0, 1});
  request = QueryOf("zero");
  request.set_after(0);
  EXPECT_THAT(QueryIds(request).value(), ElementsAre(1));
}

TEST_F(SegmentsTest, BitmapsAreForThoseWhoAcceptThem) {
  Ids ids = Range(65536 * 3, 65536);  // dense
  for (uint64_t i = 0; i < 100'000; ++i) ids.push_back((uint64_t{1} << 40) + i * 70'000);
  const Ids more = Range(uint64_t{1} << 60, 200'000);
  ids.insert(ids.end(), more.begin(), more.end());
  Load("a", ids);
  v1::QueryRequest request = QueryOf("a");
  const auto plain = Query(request);
  ASSERT_TRUE(plain.ok()) << plain.status();
  for (const auto& response : *plain) EXPECT_THAT(response.bitmaps(), IsEmpty());
  EXPECT_TRUE(QueryIds(request).value() == ids);

  request.set_accept_bitmaps(true);
  const auto dense = Query(request);
  ASSERT_TRUE(dense.ok()) << dense.status();
  int bitmaps = 0;
  for (const auto& response : *dense) {
    bitmaps += response.bitmaps_size();
    EXPECT_LT(response.ByteSizeLong(), 2u << 20);
  }
  EXPECT_GE(bitmaps, 4);
  EXPECT_TRUE(QueryIds(request).value() == ids);
}

TEST_F(SegmentsTest, AQueryMayBeGivenUpAtAnyTime) {
  Load("a", Range(0, 300'000, 1000));
  for (int steps = 0; steps < 12; ++steps) {
    auto reader = service_->Query(QueryOf("a"));
    ASSERT_TRUE(reader.ok()) << reader.status();
    std::optional<SegmentReader> read(*std::move(reader));
    bool over = false;
    bool told_late = false;
    // As the transport does it: one response after the other.
    std::function<void()> next = [&] {
      const auto response = std::make_shared<v1::QueryResponse>();
      read->Next(response.get(), [&, response](const absl::StatusOr<bool>& more) {
        told_late = told_late || over;
        if (!over && more.ok() && *more) next();
      });
    };
    next();
    for (int i = 0; i < steps; ++i) executor_.RunOne();
    over = true;
    read.reset();
    Settle();
    EXPECT_FALSE(told_late) << steps;
    Settle();
  EXPECT_THAT(segments_->Stats().running, IsEmpty());
  }
}

TEST_F(SegmentsTest, CountsAndStopsCountingWhenNobodyWaits) {
  Load("a", Range(0, 100'000));
  Load("b", Range(50'000, 100'000));
  const auto counted = Count("a & b");
  ASSERT_TRUE(counted.ok()) << counted.status();
  EXPECT_EQ(counted->count(), 50'000u);
  EXPECT_TRUE(counted->progress().done());
  EXPECT_FALSE(counted->progress().normalized().empty());

  v1::CountRequest request;
  request.set_expression("a | b");
  for (int steps = 0; steps < 6; ++steps) {
    bool over = false;
    bool told_late = false;
    std::shared_ptr<void> work =
        service_->Count(request, [&](const absl::StatusOr<v1::CountResponse>&) { told_late = over; });
    for (int i = 0; i < steps; ++i) executor_.RunOne();
    over = true;
    work = nullptr;
    Settle();
    EXPECT_FALSE(told_late) << steps;
    Settle();
  EXPECT_THAT(segments_->Stats().running, IsEmpty());
  }
}

TEST_F(SegmentsTest, ExpressionsThatAreWrongAreShown) {
  Load("a", {1});
  for (const auto& status :
       {Query(QueryOf("a &")).status(), Count("a &").status(), Explain("a &", false).status(),
        Store("a &", "b").status(), QueryValues(ValuesOf("a &", "{id}")).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(Message(status), HasSubstr("^"));
  }
  for (const auto& status : {Query(QueryOf("")).status(), Count("").status(), Explain("", false).status(),
                             Store("", "b").status(), QueryValues(ValuesOf("", "{id}")).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(Message(status), HasSubstr("expression is empty"));
  }
  EXPECT_THAT(Message(Count(std::string(70'000, 'a')).status()),
              AllOf(HasSubstr("70000"), HasSubstr("65536")));
  for (const auto& status : {Query(QueryOf("none")).status(), Count("none").status(),
                             Explain("none", false).status(), Store("none", "b").status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  }
}

TEST_F(SegmentsTest, ExplainsAPlan) {
  Load("a", Range(0, 10'000));
  Load("b", Range(5000, 10'000));
  auto explained = Explain("a & b", false);
  ASSERT_TRUE(explained.ok()) << explained.status();
  EXPECT_EQ(explained->plan().kind(), v1::PlanStep::INTERSECTION);
  ASSERT_EQ(explained->plan().inputs_size(), 2);
  EXPECT_EQ(explained->plan().inputs(0).max_count(), 10'000u);
  EXPECT_FALSE(explained->plan().has_exact_count());
  EXPECT_FALSE(explained->has_execution());
  EXPECT_FALSE(explained->normalized().empty());
  EXPECT_GT(explained->memory_bytes(), 0u);
  explained = Explain("a & b", true);
  ASSERT_TRUE(explained.ok()) << explained.status();
  EXPECT_EQ(explained->plan().exact_count(), 5000u);
  EXPECT_TRUE(explained->execution().done());
}

TEST_F(SegmentsTest, StoresListsDescribesAndDrops) {
  for (int i = 0; i < 5; ++i) Load(fmt::format("day:{}", i), Range(0, 10 * (i + 1)));
  const auto stored = Store("day:*", "all");
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(stored->segment().name(), "all");
  EXPECT_EQ(stored->segment().max_count(), 50u);

  auto listed = List("day:", "", 3);
  ASSERT_TRUE(listed.ok()) << listed.status();
  ASSERT_EQ(listed->segments_size(), 3);
  EXPECT_EQ(listed->segments(2).name(), "day:2");
  EXPECT_TRUE(listed->more());
  listed = List("day:", "day:2", 3);
  ASSERT_EQ(listed->segments_size(), 2);
  EXPECT_FALSE(listed->more());
  EXPECT_EQ(List("", "", 0)->segments_size(), 6);
  EXPECT_EQ(List("day:", "", 5)->more(), false);
  EXPECT_THAT(Message(List("", "", 10'001).status()), AllOf(HasSubstr("10001"), HasSubstr("10000")));
  EXPECT_EQ(List(std::string(257, 'p'), "", 1).status().code(), absl::StatusCode::kInvalidArgument);

  const auto described = Describe("all");
  ASSERT_TRUE(described.ok()) << described.status();
  EXPECT_EQ(described->version(), stored->segment().version());
  EXPECT_LE(described->min_count(), 50u);
  EXPECT_EQ(Describe("none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Drop("all").value(), true);
  EXPECT_EQ(Drop("all").value(), false);
  EXPECT_EQ(Describe("all").status().code(), absl::StatusCode::kNotFound);
  for (const auto& status : {Describe("").status(), Drop("").status(), Store("day:*", "").status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(status), HasSubstr("segment is empty"));
  }
}

TEST_F(SegmentsTest, AdminTellsOfThem) {
  Load("a", Range(0, 1000));
  AdminService admin(store_.engine(), segments_.get(), nullptr);
  auto reader = service_->Query(QueryOf("a"));
  ASSERT_TRUE(reader.ok()) << reader.status();
  v1::QueryResponse page;
  ASSERT_TRUE(Await<absl::StatusOr<bool>>([&](auto done) { reader->Next(&page, std::move(done)); }).ok());
  v1::StatsResponse stats;
  admin.Stats({}, &stats);
  EXPECT_EQ(stats.segments().segments(), 1u);
  EXPECT_EQ(stats.segments().memory_limit_bytes(), kSegmentMemory);
  EXPECT_TRUE(stats.segments().accepts_changes());
  EXPECT_GT(stats.segments().queries(), 0u);
  ASSERT_EQ(stats.segments().running_size(), 1);
  EXPECT_THAT(stats.segments().running(0).what(), HasSubstr("query"));
  const v1::Memory& memory = stats.memory();
  EXPECT_EQ(memory.limit_bytes(), kStoreMemory + kSegmentMemory);
  const uint64_t sum =
      std::accumulate(memory.shares().begin(), memory.shares().end(), uint64_t{0},
                      [](uint64_t so_far, const auto& share) { return so_far + share.used_bytes(); });
  EXPECT_EQ(memory.used_bytes(), sum);
  EXPECT_EQ(memory.shares().rbegin()->name(), "segments");
  EXPECT_EQ(memory.shares().rbegin()->used_bytes(), stats.segments().memory_used_bytes());
}

TEST_F(SegmentsTest, AServerWithoutSegmentsSaysHowToHaveThem) {
  service_ = std::make_unique<SegmentsService>(nullptr, nullptr, nullptr, store_.engine(), executor_);
  const std::vector<absl::Status> refusals = {Change(SegmentChange::kAdd, {ChangeOf("a", {1})}).status(),
                                              Query(QueryOf("a")).status(),
                                              QueryValues(ValuesOf("a", "{id}")).status(),
                                              Count("a").status(),
                                              Explain("a", true).status(),
                                              Store("a", "b").status(),
                                              List("", "", 0).status(),
                                              Describe("a").status(),
                                              Drop("a").status()};
  for (const absl::Status& status : refusals) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(Message(status), HasSubstr("--segment-memory 8MiB"));
  }
}

}  // namespace
}  // namespace thermocline::server
