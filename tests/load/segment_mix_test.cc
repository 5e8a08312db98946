#include "tests/load/segment_mix.h"

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace thermocline::load {
namespace {

using ::testing::HasSubstr;
using Kind = SegmentQuestion::Kind;
using Size = SegmentIds::Size;

const SegmentOptions kSome{.segments = 14, .ids = 5'000, .dense_percent = 50};

std::set<uint64_t> Members(const SegmentIds& segment) {
  std::set<uint64_t> members;
  for (uint64_t i = 0; i < segment.count(); ++i) {
    const uint64_t id = segment.At(i);
    EXPECT_TRUE(members.empty() || id > *members.rbegin());
    members.insert(id);
  }
  return members;
}

TEST(SegmentIdsTest, EachKnowsItsMembers) {
  for (const Size size : {Size::kLarge, Size::kSmall}) {
    for (uint32_t number = 0; number < 2; ++number) {
      const SegmentIds segment(kSome, size, number);
      EXPECT_EQ(segment.count(), size == Size::kLarge ? 5'000u : 50u);
      const std::set<uint64_t> members = Members(segment);
      ASSERT_EQ(members.size(), segment.count());
      for (uint64_t id = 0; id < *members.rbegin() + 1'000; ++id)
        ASSERT_EQ(segment.Holds(id), members.contains(id)) << segment.name() << " " << id;
      for (uint64_t i = 0; i < segment.count(); ++i) {
        EXPECT_TRUE(segment.MayHold(segment.At(i)));
        EXPECT_TRUE(segment.MayHold(segment.Addable(i)));
        EXPECT_FALSE(segment.Holds(segment.Addable(i)));
      }
    }
  }
}

TEST(SegmentIdsTest, AsManyAreDenseAsAsked) {
  for (const uint32_t percent : {0u, 30u, 50u, 100u}) {
    SegmentOptions options = kSome;
    options.dense_percent = percent;
    uint32_t dense = 0;
    for (uint32_t i = 0; i < 100; ++i) {
      const SegmentIds segment(options, Size::kLarge, i);
      dense += segment.is_dense() ? 1 : 0;
      const uint64_t range = segment.At(segment.count() - 1);
      EXPECT_EQ(segment.is_dense(), range < 10 * segment.count());
    }
    EXPECT_EQ(dense, percent);
  }
}

TEST(SegmentIdsTest, TheyOverlap) {
  for (const auto& [large, size, number] :
       std::vector<std::tuple<uint32_t, Size, uint32_t>>{{0, Size::kLarge, 2},     // sparse
                                                         {0, Size::kSmall, 2},     // sparse
                                                         {1, Size::kLarge, 3},     // dense
                                                         {1, Size::kSmall, 3},     // dense
                                                         {0, Size::kLarge, 1}}) {  // each of them
    const SegmentIds one(kSome, Size::kLarge, large);
    const SegmentIds two(kSome, size, number);
    const auto members = Members(two);
    const auto both = std::ranges::count_if(members, [&](uint64_t id) { return one.Holds(id); });
    EXPECT_GT(both, 0) << two.name();
    EXPECT_LT(both, static_cast<int64_t>(members.size())) << two.name();
  }
}

// The answer to a question about these segments, as they are after some adds.
std::vector<uint64_t> AnswerTo(const std::string& expression, const SegmentOptions& options) {
  std::vector<SegmentIds> all;
  for (uint32_t i = 0; i < options.segments; ++i) {
    all.emplace_back(options, Size::kLarge, i);
    all.emplace_back(options, Size::kSmall, i);
  }
  std::vector<std::set<uint64_t>> operands;
  for (const SegmentIds& segment : all) {
    const std::string prefix = expression.substr(0, expression.size() - 1);
    const bool taken = expression.ends_with('*') ? segment.name().starts_with(prefix)
                                                 : expression.find(segment.name()) != std::string::npos;
    if (!taken) continue;
    operands.push_back(Members(segment));
    for (uint64_t i = 0; i < segment.count(); i += 3) operands.back().insert(segment.Addable(i));
  }
  std::set<uint64_t> result = operands.at(0);
  for (const auto& operand : operands) {
    if (expression.ends_with('*')) {
      result.insert(operand.begin(), operand.end());
    } else {
      std::erase_if(result, [&](uint64_t id) { return !operand.contains(id); });
    }
  }
  return {result.begin(), result.end()};
}

std::string FaultOf(const SegmentQuestion& question, const std::vector<uint64_t>& ids) {
  SegmentAnswer answer(question);
  const size_t half = ids.size() / 2;
  answer.Take(std::span(ids).first(half));
  answer.Take(std::span(ids).subspan(half));
  EXPECT_EQ(answer.ids(), ids.size());
  return answer.Fault();
}

TEST(SegmentQuestionTest, KnowsRightAnswersFromWrongOnes) {
  bench::RandomStream random(1);
  size_t expected = 0;
  for (uint32_t i = 0; i < 10 * SegmentQuestion::kKinds; ++i) {
    const auto kind = static_cast<Kind>(i % SegmentQuestion::kKinds);
    const auto question = SegmentQuestion::Draw(kSome, kind, random);
    SCOPED_TRACE(question.expression());
    std::vector<uint64_t> ids = AnswerTo(question.expression(), kSome);
    EXPECT_EQ(FaultOf(question, ids), "");
    ids.push_back(uint64_t{1} << 60);
    EXPECT_THAT(FaultOf(question, ids), HasSubstr("does not belong there"));
    ids.pop_back();
    if (ids.size() > 1) {
      std::swap(ids.front(), ids.back());
      EXPECT_THAT(FaultOf(question, ids), HasSubstr("comes after"));
      std::swap(ids.front(), ids.back());
    }
    if (question.expected().empty()) continue;
    ++expected;
    std::erase(ids, question.expected().back());
    EXPECT_THAT(FaultOf(question, ids), HasSubstr("is missing"));
  }
  EXPECT_GT(expected, 20u);
}

TEST(SegmentQuestionTest, AsksOfSeveralSizes) {
  bench::RandomStream random(1);
  using ::testing::MatchesRegex;
  EXPECT_THAT(SegmentQuestion::Draw(kSome, Kind::kSmallAndSmall, random).expression(),
              MatchesRegex("load:small:00[01][0-9] & load:small:00[01][0-9]"));
  EXPECT_THAT(SegmentQuestion::Draw(kSome, Kind::kSmallAndLarge, random).expression(),
              MatchesRegex("load:small:00[01][0-9] & load:large:00[01][0-9]"));
  EXPECT_THAT(SegmentQuestion::Draw(kSome, Kind::kLargeAndLarge, random).expression(),
              MatchesRegex("load:large:00[01][0-9] & load:large:00[01][0-9]"));
  EXPECT_THAT(SegmentQuestion::Draw(kSome, Kind::kUnion, random).expression(),
              MatchesRegex("load:(small|large):00[01]\\*"));
}

}  // namespace
}  // namespace thermocline::load
