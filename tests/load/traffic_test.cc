#include "tests/load/traffic.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace thermocline::load {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A traffic of few keys, and a store that answers it.
class TrafficTest : public ::testing::Test {
 protected:
  TrafficTest() : records_({}), choice_(Popularity::kUniform, 10, 1), space_(10) {
    plan_.start = start_;
    for (uint64_t number = 0; number < 10; ++number) {
      std::string key(records_.key_bytes(), '\0');
      std::string value(records_.ValueBytes(number), '\0');
      records_.WriteKey(number, key.data());
      records_.WriteValue(number, 1, value.data());
      store_[key] = value;
    }
  }

  void Answer(Traffic& traffic, uint32_t ticket, const Call& call) {
    for (uint32_t i = 0; i < call.items.size(); ++i) {
      const std::string key(call.items[i].key);
      if (call.verb == Call::Verb::kSet) store_[key] = call.items[i].value;
      if (call.verb == Call::Verb::kDelete) store_.erase(key);
      if (call.verb != Call::Verb::kGet) continue;
      const auto found = store_.find(key);
      traffic.OnValue(ticket, i,
                      found == store_.end() ? std::nullopt : std::optional<std::string_view>(found->second));
    }
    traffic.OnEnd(ticket, "");
  }
  // Answers everything at once, until there is no more.
  void RunAll(Traffic& traffic) {
    while (const Call* const call = traffic.Next(0)) Answer(traffic, 0, *call);
  }

  const TimePoint start_ = TimePoint(seconds(100));
  const Records records_;
  const KeyChoice choice_;
  KeySpace space_;
  TrafficPlan plan_{.records = records_, .choice = choice_, .space = space_, .mix = {.reads = 1}};
  Tally tally_;
  std::map<std::string, std::string> store_;
};

TEST_F(TrafficTest, MixesInTheSharesThatWereAskedFor) {
  plan_.mix = {.reads = 0.5, .updates = 0.3, .deletes = 0.2};
  plan_.calls = 10'000;
  Traffic traffic(plan_, 1, 1, tally_);
  std::map<Call::Verb, int> verbs;
  while (const Call* const call = traffic.Next(0)) {
    ++verbs[call->verb];
    Answer(traffic, 0, *call);
  }
  EXPECT_NEAR(verbs[Call::Verb::kGet], 5000, 300);
  EXPECT_NEAR(verbs[Call::Verb::kSet], 3000, 300);
  EXPECT_NEAR(verbs[Call::Verb::kDelete], 2000, 300);
  EXPECT_TRUE(traffic.finished());
  EXPECT_EQ(tally_.operations, 10'000u);
  EXPECT_EQ(tally_.wrong, 0u);
  EXPECT_GT(tally_.missing, 0u);  // deleted keys are no fault
}

TEST_F(TrafficTest, ClosedLoopCountsFromWhenACallWasSent) {
  plan_.calls = 2;
  Traffic traffic(plan_, 2, 1, tally_);
  traffic.SetNow(start_ + milliseconds(500));
  const Call call = *traffic.Next(0);
  EXPECT_EQ(traffic.under_way(), 1u);
  traffic.SetNow(start_ + milliseconds(502));
  Answer(traffic, 0, call);
  EXPECT_NEAR(static_cast<double>(tally_.latencies.Take().Quantile(1).count()), 2e6, 4e4);
}

TEST_F(TrafficTest, OpenLoopCountsFromWhenACallWasMeantToStart) {
  plan_.calls_per_second = 1000;
  plan_.end = start_ + milliseconds(10);
  Traffic traffic(plan_, 1, 1, tally_);
  traffic.SetNow(start_);
  const Call first = *traffic.Next(0);
  EXPECT_EQ(traffic.due(), start_ + milliseconds(1));
  // The server stands still for 100 ms: nine calls are late, each by less than the one before.
  traffic.SetNow(start_ + milliseconds(100));
  Answer(traffic, 0, first);
  int late = 0;
  while (const Call* const call = traffic.Next(0)) {
    ++late;
    Answer(traffic, 0, *call);
  }
  EXPECT_EQ(late, 9);
  EXPECT_TRUE(traffic.finished());
  const auto latencies = tally_.latencies.Take();
  EXPECT_NEAR(static_cast<double>(latencies.Quantile(1).count()), 100e6, 2e6);
  EXPECT_NEAR(static_cast<double>(latencies.Quantile(0).count()), 91e6, 2e6);
}

TEST_F(TrafficTest, OpenLoopDoesNotStartEarly) {
  plan_.calls_per_second = 1000;
  Traffic traffic(plan_, 4, 1, tally_);
  traffic.SetNow(start_);
  EXPECT_NE(traffic.Next(0), nullptr);
  EXPECT_EQ(traffic.Next(1), nullptr);
  traffic.SetNow(start_ + milliseconds(1));
  EXPECT_NE(traffic.Next(1), nullptr);
  EXPECT_EQ(traffic.Next(2), nullptr);
}

TEST_F(TrafficTest, WhatIsNeverSentCountsAsErrors) {
  plan_.calls_per_second = 1000;
  plan_.end = start_ + milliseconds(50);
  Traffic traffic(plan_, 1, 1, tally_);
  traffic.SetNow(start_ + milliseconds(70));
  traffic.Abandon("no server");
  EXPECT_EQ(tally_.errors, 50u);
  EXPECT_EQ(tally_.first_fault(), "no server");
  EXPECT_TRUE(traffic.finished());
}

TEST_F(TrafficTest, SeesWrongAndMissingValues) {
  plan_.batch = 4;
  Traffic traffic(plan_, 1, 1, tally_);
  const Call* const call = traffic.Next(0);
  ASSERT_EQ(call->items.size(), 4u);
  EXPECT_TRUE(call->batch);
  traffic.OnValue(0, 0, store_.at(std::string(call->items[0].key)));
  traffic.OnValue(0, 1, std::nullopt);
  traffic.OnValue(0, 2, "something else");
  std::string other = store_.at(std::string(call->items[3].key));
  other.back() = static_cast<char>(~other.back());
  traffic.OnValue(0, 3, other);
  traffic.OnEnd(0, "");
  EXPECT_EQ(tally_.wrong, 3u);
  EXPECT_EQ(tally_.missing, 1u);
  EXPECT_EQ(tally_.operations, 4u);
}

TEST_F(TrafficTest, FailedCallsAreErrorsAndNoOperations) {
  Traffic traffic(plan_, 1, 1, tally_);
  traffic.Next(0);
  traffic.OnEnd(0, "UNAVAILABLE");
  EXPECT_EQ(tally_.errors, 1u);
  EXPECT_EQ(tally_.operations, 0u);
  EXPECT_EQ(tally_.latencies.Take().total(), 0u);
  EXPECT_EQ(tally_.first_fault(), "UNAVAILABLE");
}

TEST_F(TrafficTest, AReadModifyWriteIsOneOperationFromItsReadToItsWrite) {
  plan_.mix = {.read_modify_writes = 1};
  plan_.calls = 1;
  Traffic traffic(plan_, 2, 1, tally_);
  traffic.SetNow(start_ + milliseconds(1));
  const Call* call = traffic.Next(0);
  EXPECT_EQ(call->verb, Call::Verb::kGet);
  const std::string key(call->items[0].key);
  Answer(traffic, 0, *call);
  EXPECT_EQ(tally_.operations, 0u);
  EXPECT_FALSE(traffic.finished());
  traffic.SetNow(start_ + milliseconds(5));
  call = traffic.Next(1);
  ASSERT_NE(call, nullptr);
  EXPECT_EQ(call->verb, Call::Verb::kSet);
  EXPECT_EQ(call->items[0].key, key);
  traffic.SetNow(start_ + milliseconds(11));
  Answer(traffic, 1, *call);
  EXPECT_EQ(tally_.operations, 1u);
  EXPECT_NEAR(static_cast<double>(tally_.latencies.Take().Quantile(1).count()), 10e6, 2e5);
  EXPECT_TRUE(traffic.finished());
}

TEST_F(TrafficTest, InsertsAreReadOnceTheyAreAcknowledged) {
  const KeyChoice latest(Popularity::kLatest, 10, 1);
  TrafficPlan plan{
      .records = records_, .choice = latest, .space = space_, .mix = {.reads = 0.5, .inserts = 0.5}};
  plan.start = start_;
  plan.calls = 2'000;
  Traffic traffic(plan, 1, 1, tally_);
  RunAll(traffic);
  EXPECT_GT(space_.readable(), 900u);
  EXPECT_EQ(tally_.wrong, 0u);
  EXPECT_EQ(tally_.missing, 0u);
}

TEST_F(TrafficTest, RangeReadsTakeConsecutiveKeysThatExist) {
  plan_.mix = {.range_reads = 1};
  plan_.calls = 200;
  Traffic traffic(plan_, 1, 1, tally_);
  while (const Call* const call = traffic.Next(0)) {
    EXPECT_TRUE(call->batch);
    EXPECT_LE(call->items.size(), 10u);
    Answer(traffic, 0, *call);
  }
  EXPECT_EQ(tally_.wrong, 0u);
}

TEST(PacingTest, KeepsItsRateAndKnowsWhatIsOverdue) {
  const TimePoint start{seconds(5)};
  Pacing pacing(start, 3);
  for (int i = 0; i < 3'000; ++i) pacing.Take();
  EXPECT_EQ(std::chrono::round<milliseconds>(pacing.next() - start), milliseconds(1'000'000));
  EXPECT_EQ(pacing.Overdue(start), 0u);
  EXPECT_EQ(pacing.Overdue(start + milliseconds(1'000'100)), 1u);
  EXPECT_EQ(pacing.Overdue(start + milliseconds(1'001'100)), 4u);
}

}  // namespace
}  // namespace thermocline::load
